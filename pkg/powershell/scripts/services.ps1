# Windows services: what is there, and their stored credentials.
$script:WsxStates = @('', 'Stopped', 'StartPending', 'StopPending', 'Running', 'ContinuePending', 'PausePending', 'Paused')
# State, process and start of one service in one answer of the service manager.
function Get-WsxServiceNow([string]$name) {
    $s = [WsxNative]::Service($name)
    if ($s.Length -eq 1) { return @{ state = ''; pid = 0; started = ''; exit = 0; code = -$s[0] } }
    $state = ''
    if ($s[0] -ge 1 -and $s[0] -le 7) { $state = $script:WsxStates[$s[0]] }
    return @{ state = $state; pid = $s[1]; started = (Get-WsxStarted $s[1]); exit = $s[2]; code = 0 }
}
function Get-WsxServiceState($now) {
    return @{ state = $now.state; pid = $now.pid; started = $now.started }
}
# When a process began, in whole seconds; '' when there is none.
function Get-WsxStarted([int]$id) {
    if ($id -le 0) { return '' }
    try {
        foreach ($p in @(Get-CimInstance -ClassName Win32_Process -Filter ('ProcessId=' + $id))) {
            if ($null -ne $p -and $null -ne $p.CreationDate) {
                return ([DateTime]$p.CreationDate).ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ', [Globalization.CultureInfo]::InvariantCulture)
            }
        }
    } catch { return '' }
    return ''
}
function Get-WsxServiceKey([string]$name) { return 'SYSTEM\CurrentControlSet\Services\' + $name }
# Services of one user's session come and go with it, as that user: they are no service accounts.
function Test-WsxPerUser([string]$name) { return (([int](Get-WsxRegistry (Get-WsxServiceKey $name) 'Type' 0) -band 0xC0) -ne 0) }
function Test-WsxManagedService([string]$name) {
    $v = Get-WsxRegistry (Get-WsxServiceKey $name) 'ServiceAccountManaged' $null
    if ($null -eq $v) { return $false }
    return ([int]@($v)[0] -eq 1)
}
# Names of the services that a failover cluster looks after, in upper case.
function Get-WsxClustered {
    $names = @{}
    if (-not $script:WsxCluster) { return $names }
    try {
        foreach ($r in @(Get-CimInstance -Namespace 'root\MSCluster' -ClassName MSCluster_Resource)) {
            $p = $r.PrivateProperties
            foreach ($k in @('ServiceName', 'InstanceName')) {
                $v = [string](Get-WsxProp $p $k '')
                if ($v) { $names[$v.ToUpperInvariant()] = $true; $names['MSSQL$' + $v.ToUpperInvariant()] = $true }
            }
        }
    } catch { return $names }
    return $names
}
function Get-WsxNeighbours([string]$name) {
    $r = @{ needs = @(); children = @() }
    $sc = New-Object ServiceProcess.ServiceController($name)
    try {
        $r.needs = @(foreach ($s in @($sc.get_ServicesDependedOn())) { [string]$s.ServiceName })
        $r.children = @(foreach ($s in @($sc.get_DependentServices())) { [string]$s.ServiceName })
    } finally { $sc.Close() }
    return $r
}
function Get-WsxServiceLine($s, $match, $clustered) {
    $name = [string]$s.Name
    $line = @{
        phase = 'look'; kind = 'service'; id = $name; display = [string]$s.DisplayName; runAs = [string]$s.StartName; match = $match
        state = ([string]$s.State).Replace(' ', ''); startMode = [string]$s.StartMode; pid = [int]$s.ProcessId
        canStop = [bool]$s.AcceptStop; canPause = [bool]$s.AcceptPause; own = ([string]$s.ServiceType -eq 'Own Process')
        clustered = $clustered.ContainsKey($name.ToUpperInvariant())
    }
    $line.started = Get-WsxStarted $line.pid
    if ($line.pid -gt 0) { $script:WsxExplained[$line.pid] = $true }
    try {
        $n = Get-WsxNeighbours $name
        $line.dependsOn = $n.needs
        $line.dependents = $n.children
    } catch {
        $line.canStop = $false # whom a stop would hit is not known
        $line.err = Get-WsxErr $_ 'unknown'
    }
    if ($match.hit -and (Test-WsxManagedService $name)) { $match.class = 'managed' }
    $why = ''
    if ($match.hit -or ($match.ContainsKey('ambiguous') -and $match.ambiguous)) { $why = Get-WsxRefusal $match }
    if ($why) { $line.status = 'skipped'; $line.reason = $why }
    return $line
}
# The target's services, the doubtful ones, and everything that depends on the target's, directly or not.
function Write-WsxServices($who) {
    $all = @{}; $order = New-Object Collections.Generic.List[string]
    $clustered = Get-WsxClustered
    foreach ($s in @(Get-CimInstance -ClassName Win32_Service)) {
        $key = ([string]$s.Name).ToUpperInvariant()
        $all[$key] = $s
        $m = Get-WsxMatch ([string]$s.StartName) $who
        if (($m.hit -or (Test-WsxDoubt $m)) -and -not (Test-WsxPerUser ([string]$s.Name))) { $order.Add($key) }
    }
    $done = @{}
    for ($i = 0; $i -lt $order.Count; $i++) {
        $key = $order[$i]
        if ($done.ContainsKey($key) -or -not $all.ContainsKey($key)) { continue }
        $done[$key] = $true
        $s = $all[$key]
        $line = Get-WsxServiceLine $s (Get-WsxMatch ([string]$s.StartName) $who) $clustered
        Write-WsxItem $line
        if ($line.ContainsKey('dependents') -and -not $line.match.ContainsKey('namesake')) { foreach ($d in @($line.dependents)) { $order.Add($d.ToUpperInvariant()) } }
    }
}

# Codes of Win32_Service.Change, as the Windows errors behind them where they have one.
$script:WsxChangeCodes = @{
    2 = 'access_denied'; 3 = 'dependents_blocked'; 11 = 'scm_db_locked'; 15 = 'service_logon_failed'; 16 = 'marked_for_delete'
    21 = 'invalid_parameter'; 22 = 'invalid_account'
}
function Get-WsxWmiServices {
    $found = @{}
    $class = New-Object Management.ManagementClass('Win32_Service')
    foreach ($mo in @($class.GetInstances())) { $found[([string]$mo.GetPropertyValue('Name')).ToUpperInvariant()] = $mo }
    return $found
}
function Set-WsxService($mo, [int]$secret) {
    $in = $mo.GetMethodParameters('Change')
    # A null StartName could mean LocalSystem: the stored spelling goes back unchanged.
    $in.SetPropertyValue('StartName', [string]$mo.GetPropertyValue('StartName'))
    $in.SetPropertyValue('StartPassword', [string](Get-WsxSecret $secret))
    $result = $mo.InvokeMethod('Change', $in, $null)
    return [int]$result.GetPropertyValue('ReturnValue')
}
function Update-WsxServices($items, $who, [int]$secret) {
    $found = Get-WsxWmiServices
    foreach ($i in @($items)) {
        $clock = [Diagnostics.Stopwatch]::StartNew()
        $line = @{ phase = 'update'; kind = 'service'; id = [string]$i.id; status = 'ok' }
        try {
            $mo = $found[([string]$i.id).ToUpperInvariant()]
            if ($null -eq $mo) { $line.status = 'failed'; $line.err = Get-WsxCodeErr 1060 }
            else {
                $runAs = [string]$mo.GetPropertyValue('StartName')
                $line.before = @{
                    runAs = $runAs; state = ([string]$mo.GetPropertyValue('State')).Replace(' ', '')
                    startMode = [string]$mo.GetPropertyValue('StartMode'); pid = [int]$mo.GetPropertyValue('ProcessId')
                }
                $m = Get-WsxMatch $runAs $who
                if ($m.hit -and (Test-WsxManagedService ([string]$i.id))) { $m.class = 'managed' }
                $why = Get-WsxGuard $m $runAs $i
                if ($why) { $line.status = 'skipped'; $line.reason = $why }
                else {
                    $code = Set-WsxService $mo $secret
                    if ($code -ne 0) {
                        $class = 'unknown'
                        if ($script:WsxChangeCodes.ContainsKey($code)) { $class = $script:WsxChangeCodes[$code] }
                        $line.status = 'failed'
                        $line.err = New-WsxErr $class $code ('Win32_Service.Change returned ' + $code)
                    }
                }
            }
        } catch { $line.status = 'failed'; $line.err = Get-WsxErr $_ 'unknown' }
        $line.ms = [long]$clock.ElapsedMilliseconds
        Write-WsxItem $line
    }
}
