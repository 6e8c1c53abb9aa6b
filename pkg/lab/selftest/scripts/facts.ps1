# Facts about the machine that change nothing, and the search for a secret in its logs.
$script:SelfUser = 'keyturn-selftest-1'
$script:SelfServiceName = 'keyturn-selftest-service'
$script:SelfFolder = '\keyturn-selftest'
$script:SelfPool = 'keyturn-selftest-pool'
function Write-SelfFact([string]$id, $value) {
    Write-WsxLine 'fact' @{ id = $id; value = [string]$value }
}
# A fact that could not be found out, and why.
function Write-SelfGap([string]$id, $record) {
    $e = Get-WsxErr $record 'unknown'
    Write-WsxLine 'fact' @{ id = $id; value = 'not run'; err = $e }
}
function Write-SelfRegistry([string]$id, [string]$path, [string]$name) {
    $v = Get-WsxRegistry $path $name 'absent'
    Write-SelfFact $id $v
}
function Invoke-SelfFacts {
    $nt = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    Write-SelfRegistry 'os.product' $nt 'ProductName'
    Write-SelfRegistry 'os.revision' $nt 'UBR'
    Write-SelfFact 'os.culture' ([Globalization.CultureInfo]::InstalledUICulture.Name)
    Write-SelfFact 'os.windows' ([int](Test-WsxWindows))
    Write-SelfFact 'os.dc' ([int]$script:WsxDC)
    Write-SelfFact 'os.cluster' ([int]$script:WsxCluster)
    Write-SelfFact 'os.iis' ([int]$script:WsxIIS)
    Write-SelfFact 'ps.version' ([string]$PSVersionTable.PSVersion)
    Write-SelfFact 'ps.bits' (8 * [IntPtr]::Size)
    Write-SelfFact 'ps.language' ([string]$ExecutionContext.SessionState.LanguageMode)
    Write-SelfFact 'session.elevated' ([int]$script:WsxElevated)
    Write-SelfRegistry 'session.tokenFilter' 'SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System' 'LocalAccountTokenFilterPolicy'
    Write-SelfRegistry 'policy.fips' 'SYSTEM\CurrentControlSet\Control\Lsa\FipsAlgorithmPolicy' 'Enabled'
    Write-SelfRegistry 'policy.disableDomainCreds' 'SYSTEM\CurrentControlSet\Control\Lsa' 'DisableDomainCreds'
    Write-SelfFact 'policy.lockout' ([WsxNative]::Threshold(''))
    Write-SelfRegistry 'ssh.defaultShell' 'SOFTWARE\OpenSSH' 'DefaultShell'
    Write-SelfRegistry 'log.scriptBlock' 'SOFTWARE\Policies\Microsoft\Windows\PowerShell\ScriptBlockLogging' 'EnableScriptBlockLogging'
    Write-SelfRegistry 'log.module' 'SOFTWARE\Policies\Microsoft\Windows\PowerShell\ModuleLogging' 'EnableModuleLogging'
    Write-SelfRegistry 'log.transcript' 'SOFTWARE\Policies\Microsoft\Windows\PowerShell\Transcription' 'EnableTranscripting'
    Write-SelfRegistry 'log.commandLine' 'SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\System\Audit' 'ProcessCreationIncludeCmdLine_Enabled'
    try { Write-SelfFact 'defender.state' ([WsxNative]::Service('WinDefend')[0]) } catch { Write-SelfGap 'defender.state' $_ }
    try { Write-SelfFact 'count.services' (@(Get-CimInstance -ClassName Win32_Service).Count) } catch { Write-SelfGap 'count.services' $_ }
    try {
        $service = Open-WsxTasks
        Write-SelfFact 'count.tasks' (@(Get-WsxTasks ($service.GetFolder('\'))).Count)
    } catch { Write-SelfGap 'count.tasks' $_ }
}

# Events of the last two hours of one log: how many there are, and in how many a secret is. known is a text of ours that is
# public: where it is found, the search itself works.
function Find-SelfSecret([string]$id, [string]$log, [string]$which, [string]$known, [int[]]$indexes) {
    try {
        $xpath = '*[System[' + $which + 'TimeCreated[timediff(@SystemTime) <= 7200000]]]'
        $query = New-Object Diagnostics.Eventing.Reader.EventLogQuery($log, [Diagnostics.Eventing.Reader.PathType]::LogName, $xpath)
        $reader = New-Object Diagnostics.Eventing.Reader.EventLogReader($query)
        $n = 0; $hits = 0; $control = 0
        while ($n -lt 20000) {
            $e = $reader.ReadEvent()
            if ($null -eq $e) { break }
            $n++
            $text = [string]$e.ToXml()
            if ($text.Contains($known)) { $control++ }
            if (Test-SelfSecret $text $indexes) { $hits++ }
        }
        Write-SelfFact $id ('events=' + $n + ' control=' + $control + ' hits=' + $hits)
    } catch { Write-SelfGap $id $_ }
}
function Test-SelfSecret([string]$text, [int[]]$indexes) {
    foreach ($secret in $indexes) { if ($text.Contains([string](Get-WsxSecret $secret))) { return $true } }
    return $false
}
# The digests of the command lines that process creation was logged with, of what begins as ours does.
function Find-SelfCommandLines {
    try {
        $xpath = '*[System[(EventID=4688) and TimeCreated[timediff(@SystemTime) <= 7200000]]]'
        $query = New-Object Diagnostics.Eventing.Reader.EventLogQuery('Security', [Diagnostics.Eventing.Reader.PathType]::LogName, $xpath)
        $reader = New-Object Diagnostics.Eventing.Reader.EventLogReader($query)
        $sha = New-Object Security.Cryptography.SHA256CryptoServiceProvider
        $seen = @{}; $n = 0
        while ($n -lt 20000) {
            $e = $reader.ReadEvent()
            if ($null -eq $e) { break }
            $n++
            $doc = New-Object Xml.XmlDocument
            $doc.XmlResolver = $null
            $doc.LoadXml([string]$e.ToXml())
            foreach ($d in @($doc.GetElementsByTagName('Data'))) {
                if ($d.GetAttribute('Name') -ne 'CommandLine') { continue }
                $line = [string]$d.InnerText
                $at = $line.IndexOf('powershell.exe -NoLogo -NoProfile', [StringComparison]::OrdinalIgnoreCase)
                if ($at -ne 0) { continue }
                $bytes = $sha.ComputeHash([Text.Encoding]::ASCII.GetBytes($line.Trim()))
                $hex = [BitConverter]::ToString($bytes).Replace('-', '').ToLowerInvariant()
                if ($seen.ContainsKey($hex)) { $seen[$hex]++ } else { $seen[$hex] = 1 }
            }
        }
        Write-SelfFact 'log.4688.events' $n
        foreach ($k in @($seen.Keys)) { Write-SelfFact 'log.4688.sha256' $k }
    } catch { Write-SelfGap 'log.4688.events' $_ }
}
function Find-SelfTranscripts([int[]]$indexes) {
    try {
        $dir = [string](Get-WsxRegistry 'SOFTWARE\Policies\Microsoft\Windows\PowerShell\Transcription' 'OutputDirectory' '')
        if (-not $dir) { $dir = [Environment]::GetFolderPath([Environment+SpecialFolder]::MyDocuments) }
        $n = 0; $hits = 0
        if (-not $dir) { Write-SelfFact 'log.transcripts' 'files=0 hits=0'; return }
        foreach ($f in @([IO.Directory]::GetFiles($dir, 'PowerShell_transcript*', [IO.SearchOption]::AllDirectories))) {
            if ([IO.File]::GetLastWriteTimeUtc($f) -lt [DateTime]::UtcNow.AddHours(-2) -or $n -ge 500) { continue }
            $n++
            $stream = New-Object IO.FileStream($f, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::ReadWrite)
            try { if (Test-SelfSecret ((New-Object IO.StreamReader($stream)).ReadToEnd()) $indexes) { $hits++ } } finally { $stream.Close() }
        }
        Write-SelfFact 'log.transcripts' ('files=' + $n + ' hits=' + $hits)
    } catch { Write-SelfGap 'log.transcripts' $_ }
}
# Every secret of the request is searched for.
function Invoke-SelfEvents {
    $all = @(for ($i = 0; (Get-WsxIndex ('s' + $i)) -ge 0; $i++) { Get-WsxIndex ('s' + $i) })
    $operational = 'Microsoft-Windows-PowerShell/Operational'
    Find-SelfSecret 'log.4104' $operational '(EventID=4104) and ' 'WsxRead' $all
    Find-SelfSecret 'log.4103' $operational '(EventID=4103) and ' 'New-Object' $all
    Find-SelfSecret 'log.800' 'Windows PowerShell' '' 'powershell.exe' $all
    Find-SelfSecret 'log.4688' 'Security' '(EventID=4688) and ' 'powershell.exe' $all
    Find-SelfSecret 'log.system' 'System' '' 'Service Control Manager' $all
    Find-SelfSecret 'log.tasks' 'Microsoft-Windows-TaskScheduler/Operational' '' 'Task' $all
    Find-SelfCommandLines
    Find-SelfTranscripts $all
}
