# What is only reported: where the account is used and nothing here changes a password.
$script:WsxExplained = @{} # ids of processes that an item of the inventory accounts for
function Write-WsxReport([string]$kind, [string]$reason, $fields) {
    $fields.phase = 'look'; $fields.kind = $kind; $fields.status = 'skipped'; $fields.reason = $reason
    Write-WsxItem $fields
}
# As the other lines give times.
function Get-WsxStamp([DateTime]$time) {
    return $time.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
}
# A process is explained by an item, or by its parent. A parent that is younger than its child is another process that
# got the number later.
function Test-WsxExplained($p, $all) {
    for ($depth = 0; $depth -lt 64; $depth++) {
        if ($script:WsxExplained.ContainsKey($p.id)) { return $true }
        if ($p.parent -le 0 -or -not $all.ContainsKey($p.parent)) { return $false }
        $parent = $all[$p.parent]
        if ($parent.began -gt $p.began) { return $false }
        $p = $parent
    }
    return $false
}
function Get-WsxProcesses {
    $all = @{}
    $class = New-Object Management.ManagementClass('Win32_Process')
    foreach ($mo in @($class.GetInstances())) {
        $began = [DateTime]::MinValue
        try { $began = [Management.ManagementDateTimeConverter]::ToDateTime([string]$mo.GetPropertyValue('CreationDate')) } catch { $began = [DateTime]::MinValue }
        $id = [int]$mo.GetPropertyValue('ProcessId')
        $all[$id] = @{ id = $id; parent = [int]$mo.GetPropertyValue('ParentProcessId'); image = [string]$mo.GetPropertyValue('Name'); began = $began; mo = $mo }
    }
    return $all
}
# Only what is not explained is asked for its owner: each question costs a call.
function Write-WsxProcesses($who) {
    $all = Get-WsxProcesses
    foreach ($id in @($all.Keys | Sort-Object)) {
        $p = $all[$id]
        if (Test-WsxDeadline) { return }
        if ($id -le 4 -or (Test-WsxExplained $p $all)) { continue }
        $sid = ''
        try { $sid = [string]($p.mo.InvokeMethod('GetOwnerSid', $null, $null)).GetPropertyValue('Sid') } catch { continue } # it has ended
        if (-not (@($who.sids) -contains $sid)) { continue }
        $line = @{ id = [string]$id; display = $p.image; runAs = $who.name; pid = $id }
        if ($p.began -ne [DateTime]::MinValue) { $line.started = Get-WsxStamp $p.began }
        Write-WsxReport 'process' 'unmanaged_process' $line
    }
}
function Write-WsxComPlus($who) {
    $catalog = New-Object -ComObject COMAdmin.COMAdminCatalog
    $apps = $catalog.GetCollection('Applications')
    [void]$apps.Populate()
    for ($i = 0; $i -lt [int]$apps.Count; $i++) {
        $app = $apps.Item($i)
        $runAs = [string]$app.Value('Identity')
        if ($runAs -and (Get-WsxMatch $runAs $who).hit) { Write-WsxReport 'com_plus' 'com_plus' @{ id = [string]$app.Name; runAs = $runAs } }
    }
}
function Write-WsxDcom($who) {
    $root = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SOFTWARE\Classes\AppID')
    if ($null -eq $root) { return }
    foreach ($id in @($root.GetSubKeyNames())) {
        $key = $null
        try { $key = $root.OpenSubKey($id) } catch { continue }
        if ($null -eq $key) { continue }
        $runAs = [string]$key.GetValue('RunAs')
        if ($runAs -and (Get-WsxMatch $runAs $who).hit) {
            Write-WsxReport 'dcom' 'dcom' @{ id = [string]$id; display = [string]$key.GetValue(''); runAs = $runAs }
        }
        $key.Close()
    }
    $root.Close()
}
function Write-WsxElsewhere($who, [string]$place, [string]$runAs) {
    if ($runAs -and (Get-WsxMatch $runAs $who).hit) { Write-WsxReport 'elsewhere' 'seen_elsewhere' @{ id = $place; runAs = $runAs } }
}
function Write-WsxRegistryPlaces($who) {
    $key = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
    if ([string](Get-WsxRegistry $key 'AutoAdminLogon' '') -eq '1') {
        $user = [string](Get-WsxRegistry $key 'DefaultUserName' '')
        $domain = [string](Get-WsxRegistry $key 'DefaultDomainName' '')
        if ($domain -and $user -and -not $user.Contains('\') -and -not $user.Contains('@')) { $user = $domain + '\' + $user }
        Write-WsxElsewhere $who 'Winlogon autologon' $user
    }
    $key = 'SOFTWARE\Microsoft\IIS\CentralCertProvider'
    if ([string](Get-WsxRegistry $key 'Enabled' 0) -eq '1') {
        Write-WsxElsewhere $who 'IIS central certificate store' ([string](Get-WsxRegistry $key 'UserName' ''))
    }
}
function Write-WsxIisPlaces($who) {
    $manager = Open-WsxIis
    if ($null -eq $manager) { return }
    $folder = Get-WsxSharedConfig $manager
    if ($folder) {
        Write-WsxReport 'iis_shared' 'shared_config' @{ id = $folder.Trim() }
        $section = $manager.GetRedirectionConfiguration().GetSection('configurationRedirection')
        Write-WsxElsewhere $who 'IIS shared configuration' ([string]$section.GetAttributeValue('userName'))
    }
    foreach ($s in @($manager.Sites)) {
        foreach ($a in @($s.Applications)) {
            $user = ''
            try {
                $section = $manager.GetWebConfiguration([string]$s.Name, [string]$a.Path).GetSection('system.web/identity')
                if ([bool]$section.IsLocallyStored) { $user = [string]$section.GetAttributeValue('userName') }
            } catch { continue } # no ASP.NET, or a web.config that IIS cannot read either
            Write-WsxElsewhere $who ('<identity> in ' + [string]$s.Name + ([string]$a.Path).TrimEnd('/') + '/web.config') $user
        }
    }
}
# A source that does not answer is passed over: what is reported here never holds up a rotation.
function Write-WsxReports($who) {
    if (@($who.sids).Count -eq 0) { return }
    try { Write-WsxProcesses $who } catch { [void](Get-WsxErr $_ 'unknown') }
    try { Write-WsxComPlus $who } catch { [void](Get-WsxErr $_ 'unknown') }
    try { Write-WsxDcom $who } catch { [void](Get-WsxErr $_ 'unknown') }
    try { Write-WsxRegistryPlaces $who } catch { [void](Get-WsxErr $_ 'unknown') }
    try { Write-WsxIisPlaces $who } catch { [void](Get-WsxErr $_ 'unknown') }
}
