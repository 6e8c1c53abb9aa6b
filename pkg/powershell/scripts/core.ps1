# Output, journal, errors and secrets. Floor: Windows PowerShell 5.1, .NET Framework 4.5.
# A secret is never bound to a parameter: functions take its index, and fetch it at the .NET or COM method call
# (module logging and transcription write down every bound value).
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$script:WsxClock = [Diagnostics.Stopwatch]::StartNew()
$script:WsxOut = [Console]::OpenStandardOutput()
$script:WsxOutBroken = $false
$script:WsxJournal = $null
$script:WsxNonce = ''
$script:WsxDeadline = [long]0
$script:WsxLines = 0
$script:WsxCounts = @{}

# ConvertTo-Json leaves non-ASCII as it is, unrolls one-element arrays and cuts at depth 2.
function ConvertTo-WsxJson($v) {
    if ($null -eq $v) { return 'null' }
    if ($v -is [bool]) { if ($v) { return 'true' } else { return 'false' } }
    if ($v -is [byte] -or $v -is [int16] -or $v -is [uint16] -or $v -is [int] -or $v -is [uint32] -or $v -is [long] -or $v -is [uint64]) {
        return [Convert]::ToString($v, [Globalization.CultureInfo]::InvariantCulture)
    }
    if ($v -is [Collections.IDictionary]) {
        $parts = New-Object Collections.Generic.List[string]
        foreach ($k in @($v.Keys)) {
            if ($null -ne $v[$k]) { $parts.Add((ConvertTo-WsxJson ([string]$k)) + ':' + (ConvertTo-WsxJson $v[$k])) }
        }
        return '{' + [string]::Join(',', $parts.ToArray()) + '}'
    }
    if ($v -isnot [string] -and $v -is [Collections.IEnumerable]) {
        $parts = New-Object Collections.Generic.List[string]
        foreach ($e in $v) { $parts.Add((ConvertTo-WsxJson $e)) }
        return '[' + [string]::Join(',', $parts.ToArray()) + ']'
    }
    $text = New-Object Text.StringBuilder
    [void]$text.Append('"')
    foreach ($c in ([string]$v).ToCharArray()) {
        $i = [int]$c
        if ($i -eq 34) { [void]$text.Append('\"') }
        elseif ($i -eq 92) { [void]$text.Append('\\') }
        elseif ($i -lt 32 -or $i -gt 126) { [void]$text.Append('\u' + $i.ToString('x4')) }
        else { [void]$text.Append($c) }
    }
    [void]$text.Append('"')
    return $text.ToString()
}

# One line of the answer. A broken standard output (the connection was cut) must not stop a restart half way:
# what was stopped has to be started, and the journal keeps what is not heard.
function Write-WsxLine($t, $fields) {
    $line = '#WSX {"t":"' + $t + '","n":"' + $script:WsxNonce + '"'
    $rest = ConvertTo-WsxJson $fields
    if ($rest.Length -gt 2) { $line += ',' + $rest.Substring(1) } else { $line += '}' }
    if ($t -eq 'hello') { $line = "`n" + $line }
    $bytes = [Text.Encoding]::ASCII.GetBytes($line + "`n")
    Add-WsxJournal $bytes
    $script:WsxLines++
    if ($script:WsxOutBroken) { return }
    try { $script:WsxOut.Write($bytes, 0, $bytes.Length); $script:WsxOut.Flush() } catch { $script:WsxOutBroken = $true }
}
function Write-WsxItem($fields) {
    if ($fields.phase -ne 'look' -and $fields.ContainsKey('status')) {
        $s = $fields.status
        if ($script:WsxCounts.ContainsKey($s)) { $script:WsxCounts[$s]++ } else { $script:WsxCounts[$s] = 1 }
    }
    Write-WsxLine 'item' $fields
}
function Write-WsxFatal($class, $err) {
    Write-WsxLine 'fatal' @{ class = $class; err = $err }
}
function Write-WsxBye($code) {
    $counts = @{ lines = $script:WsxLines }
    foreach ($k in @($script:WsxCounts.Keys)) { $counts[$k] = $script:WsxCounts[$k] }
    Write-WsxLine 'bye' @{ code = [int]$code; counts = $counts; ms = [long]$script:WsxClock.ElapsedMilliseconds }
}
# 0: all is as wanted; 10: some is not; 11: nothing was done.
function Get-WsxCode {
    $bad = 0; $good = 0
    foreach ($k in @($script:WsxCounts.Keys)) {
        if ($k -eq 'failed' -or $k -eq 'timeout' -or $k -eq 'pending') { $bad += $script:WsxCounts[$k] }
        if ($k -eq 'ok') { $good += $script:WsxCounts[$k] }
    }
    if ($bad -eq 0) { return 0 }
    if ($good -gt 0) { return 10 }
    return 11
}
function Test-WsxDeadline { return ($script:WsxClock.ElapsedMilliseconds -ge $script:WsxDeadline) }

# ---- journal: what a cut run did, for repair and for people
function Add-WsxJournal([byte[]]$bytes) {
    if ($null -eq $script:WsxJournal) { return }
    try { $script:WsxJournal.Write($bytes, 0, $bytes.Length); $script:WsxJournal.Flush($true) } catch { $script:WsxJournal = $null }
}
function Write-WsxIntent($t, $id) {
    Add-WsxJournal ([Text.Encoding]::ASCII.GetBytes('#WSX ' + (ConvertTo-WsxJson @{ t = $t; id = $id; at = (Get-WsxNow) }) + "`n"))
}
function Get-WsxNow { return [DateTime]::UtcNow.ToString('yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture) }
function Test-WsxWindows { return ([string][Environment]::OSVersion.Platform -eq 'Win32NT') }
function Get-WsxJournalPath($run) {
    if ([string]$run -cnotmatch '\A[A-Za-z0-9_-]{1,64}\z') { return $null }
    $base = [Environment]::GetEnvironmentVariable('ProgramData')
    if ([string]::IsNullOrEmpty($base)) { return $null }
    return [IO.Path]::Combine($base, 'Keyturn', 'journal', $run + '.ndjson')
}
# Anybody may make folders under ProgramData: one that is not an administrator's, or leads elsewhere, is not used.
function Test-WsxFolder($path) {
    if (-not (Test-WsxWindows)) { return $true }
    if (([int][IO.File]::GetAttributes($path) -band 0x400) -ne 0) { return $false }
    $owner = [IO.Directory]::GetAccessControl($path).GetOwner([Security.Principal.SecurityIdentifier]).Value
    return ($owner -eq 'S-1-5-32-544' -or $owner -eq 'S-1-5-18' -or $owner -eq [Security.Principal.WindowsIdentity]::GetCurrent().User.Value)
}
function New-WsxFolder($path) {
    if (-not (Test-WsxWindows)) { [void][IO.Directory]::CreateDirectory($path); return }
    if ([IO.Directory]::Exists($path)) { return }
    $acl = New-Object Security.AccessControl.DirectorySecurity
    $acl.SetSecurityDescriptorSddlForm('O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)')
    [void][IO.Directory]::CreateDirectory($path, $acl)
}
function Open-WsxJournal($run) {
    try {
        $path = Get-WsxJournalPath $run
        if ($null -eq $path) { return }
        $folder = [IO.Path]::GetDirectoryName($path)
        foreach ($f in @([IO.Path]::GetDirectoryName($folder), $folder)) {
            New-WsxFolder $f
            if (-not (Test-WsxFolder $f)) { return }
        }
        foreach ($old in [IO.Directory]::GetFiles($folder, '*.ndjson')) {
            if ([IO.File]::GetLastWriteTimeUtc($old) -lt [DateTime]::UtcNow.AddDays(-7)) { try { [IO.File]::Delete($old) } catch { continue } }
        }
        $script:WsxJournal = New-Object IO.FileStream($path, [IO.FileMode]::Append, [IO.FileAccess]::Write, [IO.FileShare]::Read)
    } catch { $script:WsxJournal = $null }
}

# ---- one run at a time; held until the process ends
$script:WsxMutex = $null
function Lock-Wsx($name) {
    try {
        $script:WsxMutex = New-Object Threading.Mutex($false, ('Global\Keyturn-' + $name))
        return [bool]$script:WsxMutex.WaitOne(0)
    } catch {
        return ((Get-WsxInner $_.Exception) -is [Threading.AbandonedMutexException])
    }
}

# ---- errors
function Get-WsxInner($x) {
    while ($null -ne $x.InnerException) { $x = $x.InnerException }
    return $x
}
$script:WsxClasses = @{
    2 = 'not_found'; 3 = 'not_found'; 5 = 'access_denied'; 86 = 'credential_rejected'; 87 = 'invalid_parameter'; 1051 = 'dependents_blocked'
    1052 = 'not_stoppable'; 1053 = 'start_timeout'; 1055 = 'scm_db_locked'; 1056 = 'already_running'; 1057 = 'invalid_account'
    1058 = 'not_restartable_disabled'; 1060 = 'not_found'; 1061 = 'service_transitioning'; 1062 = 'not_running'; 1067 = 'died_after_start'
    1068 = 'dependency_failed'; 1069 = 'service_logon_failed'; 1072 = 'marked_for_delete'; 1079 = 'account_differs_in_process'
    1168 = 'not_found'; 1311 = 'no_logon_server'; 1312 = 'credential_storage_disabled'; 1317 = 'not_found'; 1325 = 'password_policy'
    1326 = 'credential_rejected'; 1327 = 'account_restricted'; 1328 = 'account_restricted'; 1329 = 'account_restricted'
    1330 = 'account_expired_pw'; 1331 = 'account_disabled'; 1332 = 'invalid_account'; 1355 = 'no_logon_server'; 1385 = 'right_missing'
    1787 = 'no_logon_server'; 1789 = 'no_logon_server'; 1793 = 'account_expired'; 1907 = 'account_expired_pw'; 1909 = 'account_locked'
    2221 = 'not_found'; 2242 = 'account_expired_pw'; 2243 = 'password_policy'; 2244 = 'password_policy'; 2245 = 'password_policy'; 2246 = 'password_policy'
}
$script:WsxHResults = @{
    '0x80090016' = 'iis_key_access'; '0x8009000D' = 'iis_key_access'; '0x80041315' = 'task_service_down'; '0x80041322' = 'task_service_down'
    '0x80041316' = 'task_xml_invalid'; '0x80041317' = 'task_xml_invalid'; '0x80041318' = 'task_xml_invalid'
    '0x80041319' = 'task_xml_invalid'; '0x8004131A' = 'task_xml_invalid'; '0x800706BA' = 'task_service_down'
}
function Get-WsxClass([int]$native) {
    if ($script:WsxClasses.ContainsKey($native)) { return $script:WsxClasses[$native] }
    return 'unknown'
}
function New-WsxErr([string]$class, [int]$native, [string]$msg) {
    $e = @{ class = $class; msg = $msg }
    if ($native -ne 0) { $e.native = $native }
    return $e
}
# Of a Windows error code.
function Get-WsxCodeErr([int]$native) {
    return New-WsxErr (Get-WsxClass $native) $native ([string](New-Object ComponentModel.Win32Exception($native)).Message)
}
# Of a caught error; class is taken when the error has none of its own.
function Get-WsxErr($record, [string]$class) {
    $x = $record
    if ($x -is [Management.Automation.ErrorRecord]) { $x = $x.Exception }
    $x = Get-WsxInner $x
    $hr = '0x{0:X8}' -f $x.HResult
    $native = 0
    if ($x -is [ComponentModel.Win32Exception]) { $native = $x.NativeErrorCode }
    elseif ($hr.StartsWith('0x8007')) { $native = [Convert]::ToInt32($hr.Substring(6), 16) }
    $own = 'unknown'
    if ($script:WsxHResults.ContainsKey($hr)) { $own = $script:WsxHResults[$hr] } elseif ($native -ne 0) { $own = Get-WsxClass $native }
    if ($own -eq 'unknown' -and $class) { $own = $class }
    $e = New-WsxErr $own $native ([string]$x.Message)
    $e.hresult = $hr
    $e.type = [string]$x.GetType().FullName
    return $e
}

# ---- the request; strict mode does not allow a property that is not there
function Get-WsxProp($o, [string]$name, $default) {
    if ($null -eq $o) { return $default }
    $p = $o.PSObject.Properties[$name]
    if ($null -eq $p -or $null -eq $p.Value) { return $default }
    return $p.Value
}
function Get-WsxList($o, [string]$name) {
    if ($null -eq $o) { return }
    $p = $o.PSObject.Properties[$name]
    if ($null -eq $p -or $null -eq $p.Value) { return }
    foreach ($e in @($p.Value)) { if ($null -ne $e) { $e } }
}
function Get-WsxIndex([string]$name) { return [int](Get-WsxProp (Get-WsxProp $script:WsxReq 'secrets' $null) $name -1) }

# Only ever called in the argument of a method.
function Get-WsxSecret([int]$index) {
    return [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($WsxSecrets.Split(',')[$index]))
}
