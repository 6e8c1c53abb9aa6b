# IIS through Microsoft.Web.Administration: method calls, one commit, and what is stored can be read back.
# A configuration object is never returned to the caller of the script or serialised: it would carry the password.
function Open-WsxIis {
    if (-not $script:WsxIIS) { return $null }
    if ($null -eq ('Microsoft.Web.Administration.ServerManager' -as [type])) {
        $dll = [IO.Path]::Combine([Environment]::SystemDirectory, 'inetsrv', 'Microsoft.Web.Administration.dll')
        [void][Reflection.Assembly]::LoadFrom($dll)
    }
    return (New-Object Microsoft.Web.Administration.ServerManager)
}
# A getter that throws (the activation service is down) yields null as a property, and an error as a method.
function Get-WsxPoolState($pool) {
    try { return [string]$pool.get_State() } catch { return 'unknown' }
}
function Get-WsxWorkers($pool) {
    $ids = @()
    try { $ids = @(foreach ($w in @($pool.get_WorkerProcesses())) { [int]$w.ProcessId }) } catch { $ids = @() }
    return @($ids | Sort-Object)
}
function Get-WsxPoolLogon($pool) {
    try { if ([int]$pool.ProcessModel.GetAttributeValue('logonType') -eq 1) { return 'LogonService' } } catch { return 'LogonBatch' }
    return 'LogonBatch'
}
# Names of those among items that log on as a service does.
function Get-WsxServicePools($items) {
    if (@($items).Count -eq 0) { return }
    try { $manager = Open-WsxIis } catch { return }
    if ($null -eq $manager) { return }
    foreach ($i in @($items)) {
        $pool = Find-WsxPool $manager ([string]$i.id)
        if ($null -ne $pool -and (Get-WsxPoolLogon $pool) -eq 'LogonService') { [string]$i.id }
    }
}
function Test-WsxAlwaysRunning($pool) {
    try { return ([int]$pool.GetAttributeValue('startMode') -eq 1) } catch { return $false }
}
function Find-WsxPool($manager, [string]$name) {
    foreach ($p in @($manager.ApplicationPools)) {
        if ([string]::Equals([string]$p.Name, $name, [StringComparison]::OrdinalIgnoreCase)) { return $p }
    }
    return $null
}
function Test-WsxSpecificUser($pool) { return ([int]$pool.ProcessModel.IdentityType -eq 3) }

# ---- places: everything that stores a user and a password. What has a lower rank is nearer to the root: who only
# inherits changes with it, and is never given a password of its own.
$script:WsxIisKinds = @('iis_pool', 'iis_vdir', 'iis_anon')
$script:WsxAnonymous = 'system.webServer/security/authentication/anonymousAuthentication'
function Add-WsxPlace($places, [string]$kind, [string]$id, [int]$rank, $element, $pool) {
    $places.Add(@{ kind = $kind; id = $id; rank = $rank; element = $element; pool = $pool; runAs = [string]$element.GetAttributeValue('userName') })
}
function Add-WsxPools($places, $manager) {
    $d = $manager.ApplicationPoolDefaults
    if (Test-WsxSpecificUser $d) { Add-WsxPlace $places 'iis_pool' '<applicationPoolDefaults>' 0 $d.ProcessModel $null }
    foreach ($p in @($manager.ApplicationPools)) {
        if (Test-WsxSpecificUser $p) { Add-WsxPlace $places 'iis_pool' ([string]$p.Name) 1 $p.ProcessModel $p }
    }
}
function Add-WsxDirectories($places, $manager) {
    $defaults = '<virtualDirectoryDefaults>'
    Add-WsxPlace $places 'iis_vdir' $defaults 0 $manager.VirtualDirectoryDefaults $null
    foreach ($s in @($manager.Sites)) {
        Add-WsxPlace $places 'iis_vdir' ([string]$s.Name + $defaults) 1 $s.VirtualDirectoryDefaults $null
        foreach ($a in @($s.Applications)) {
            Add-WsxPlace $places 'iis_vdir' ([string]$s.Name + [string]$a.Path + $defaults) 2 $a.VirtualDirectoryDefaults $null
            $at = [string]$s.Name + ([string]$a.Path).TrimEnd('/')
            foreach ($v in @($a.VirtualDirectories)) { Add-WsxPlace $places 'iis_vdir' ($at + [string]$v.Path) 3 $v $null }
        }
    }
}
# In applicationHost.config for the server and in location tags, and in the web.config of each application. A
# web.config that cannot be read serves no request either: it is passed over.
function Add-WsxAnonymous($places, $manager) {
    $config = $manager.GetApplicationHostConfiguration()
    try { $server = $config.GetSection($script:WsxAnonymous) } catch { return } # the feature is not installed
    Add-WsxPlace $places 'iis_anon' '<anonymousAuthentication>' 0 $server $null
    foreach ($l in @($config.GetLocationPaths())) {
        if (-not $l) { continue }
        $section = $config.GetSection($script:WsxAnonymous, [string]$l)
        if ([bool]$section.IsLocallyStored) { Add-WsxPlace $places 'iis_anon' ([string]$l) ([string]$l).Split('/').Length $section $null }
    }
    foreach ($s in @($manager.Sites)) {
        foreach ($a in @($s.Applications)) {
            try { $section = $manager.GetWebConfiguration([string]$s.Name, [string]$a.Path).GetSection($script:WsxAnonymous) } catch { continue }
            $id = [string]$s.Name + ([string]$a.Path).TrimEnd('/') + '/web.config'
            if ([bool]$section.IsLocallyStored) { Add-WsxPlace $places 'iis_anon' $id (100 + $id.Split('/').Length) $section $null }
        }
    }
}
function Get-WsxPlaces($manager, $kinds) {
    $places = New-Object Collections.Generic.List[object]
    if (@($kinds) -ccontains 'iis_pool') { Add-WsxPools $places $manager }
    if (@($kinds) -ccontains 'iis_vdir') { Add-WsxDirectories $places $manager }
    if (@($kinds) -ccontains 'iis_anon') { Add-WsxAnonymous $places $manager }
    return $places.ToArray()
}
# The folder that this machine shares its configuration with others in; '' when the configuration is its own.
function Get-WsxSharedConfig($manager) {
    try {
        $section = $manager.GetRedirectionConfiguration().GetSection('configurationRedirection')
        if ([bool]$section.GetAttributeValue('enabled')) { return ([string]$section.GetAttributeValue('path') + ' ').TrimStart() }
    } catch { return '' }
    return ''
}
# Empty: the caller, or the pool. Nothing is stored then.
function Test-WsxStored($place) { return ($place.runAs -ne '') }
function Write-WsxPlace($place, $who, [string]$shared) {
    $m = Get-WsxMatch $place.runAs $who
    $doubt = ($m.ContainsKey('ambiguous') -and $m.ambiguous)
    if (-not $m.hit -and -not $doubt) { return }
    $line = @{ phase = 'look'; kind = $place.kind; id = $place.id; runAs = $place.runAs; match = $m }
    if ($null -ne $place.pool) {
        $line.state = Get-WsxPoolState $place.pool
        $line.logonType = Get-WsxPoolLogon $place.pool
        $line.workers = @(Get-WsxWorkers $place.pool)
        foreach ($id in $line.workers) { $script:WsxExplained[[int]$id] = $true }
    }
    $why = Get-WsxRefusal $m
    if (-not $why -and $shared) { $why = 'shared_config' }
    if ($why) { $line.status = 'skipped'; $line.reason = $why }
    Write-WsxItem $line
}
function Write-WsxIis($who) {
    $kinds = @($script:WsxIisKinds | Where-Object { Test-WsxKind $_ })
    if ($kinds.Count -eq 0) { return }
    try {
        $manager = Open-WsxIis
        if ($null -eq $manager) { return }
        $places = @(Get-WsxPlaces $manager $kinds)
    } catch {
        Write-WsxItem @{ phase = 'look'; kind = $kinds[0]; id = '*'; status = 'failed'; err = (Get-WsxErr $_ 'iis_unavailable') }
        return
    }
    $shared = Get-WsxSharedConfig $manager
    foreach ($p in $places) { if (Test-WsxStored $p) { Write-WsxPlace $p $who $shared } }
}

# ---- update
function Find-WsxPlace($places, $item) {
    foreach ($p in @($places)) {
        if ($p.kind -ceq [string]$item.kind -and [string]::Equals($p.id, [string]$item.id, [StringComparison]::OrdinalIgnoreCase)) { return $p }
    }
    return $null
}
function Test-WsxHolds($place, [int]$secret) {
    return [string]::Equals([string]$place.element.GetAttributeValue('password'), [string](Get-WsxSecret $secret), [StringComparison]::Ordinal)
}
# One record for each item: its line, its rank, and whether it held the password before anything was written.
function Get-WsxIisRecords($places, $items, $who, [string]$shared, [int]$secret) {
    foreach ($i in @($items)) {
        $line = @{ phase = 'update'; kind = [string]$i.kind; id = [string]$i.id; status = 'ok' }
        $r = @{ item = $i; line = $line; rank = -1; held = $false }
        try {
            $place = Find-WsxPlace $places $i
            if ($null -ne $place) { $line.before = @{ runAs = $place.runAs } }
            if ($null -ne $place -and $null -ne $place.pool) { $line.before.state = Get-WsxPoolState $place.pool }
            if ($null -eq $place -and $line.kind -ceq 'iis_pool' -and $null -ne (Find-WsxPool $script:WsxManager $line.id)) {
                $line.status = 'skipped'; $line.reason = 'run_as_changed'
            }
            elseif ($null -eq $place) { $line.status = 'failed'; $line.err = New-WsxErr 'not_found' 0 'IIS has it no more' }
            else {
                $why = Get-WsxGuard (Get-WsxMatch $place.runAs $who) $place.runAs $i
                if (-not $why -and $shared) { $why = 'shared_config' }
                if ($why) { $line.status = 'skipped'; $line.reason = $why }
                else { $r.held = Test-WsxHolds $place $secret; $r.rank = $place.rank }
            }
        } catch { $line.status = 'failed'; $line.err = Get-WsxErr $_ 'unknown' }
        $r
    }
}
# Sets what needs setting among records; nothing is in force before the commit. Returns how much that is.
function Set-WsxPlaces($places, $records, $who, [int]$secret) {
    $n = 0
    foreach ($r in @($records)) {
        $r.line.status = 'ok'
        $r.line.Remove('reason')
        $place = Find-WsxPlace $places $r.item
        if ($null -eq $place) { throw (New-Object InvalidOperationException('IIS has ' + $r.line.id + ' no more')) }
        $why = Get-WsxGuard (Get-WsxMatch $place.runAs $who) $place.runAs $r.item
        if ($why) { $r.line.status = 'skipped'; $r.line.reason = $why }
        elseif ($r.held) { $r.line.status = 'noop'; $r.line.reason = 'already_current' }
        elseif (Test-WsxHolds $place $secret) { $r.line.reason = 'inherited' }
        else {
            [void]$place.element.SetAttributeValue('password', [string](Get-WsxSecret $secret))
            $n++
        }
    }
    return $n
}
# One commit for all items of a rank; a conflict with another writer is tried again once, from what is stored then.
function Save-WsxPlaces($records, $kinds, $who, [int]$secret) {
    $err = $null
    for ($try = 1; $try -le 2; $try++) {
        $err = $null
        try {
            $manager = Open-WsxIis
            if ((Set-WsxPlaces @(Get-WsxPlaces $manager $kinds) $records $who $secret) -gt 0) { $manager.CommitChanges() }
            return
        } catch {
            $err = Get-WsxErr $_ 'iis_config_conflict'
            if ($err.class -eq 'iis_key_access' -or $err.class -eq 'access_denied') { break }
        }
    }
    foreach ($r in @($records)) {
        if ($r.line.status -eq 'ok' -and -not ($r.line.ContainsKey('reason'))) { $r.line.status = 'failed'; $r.line.err = $err }
    }
}
function Update-WsxIis($items, $who, [int]$secret) {
    if (@($items).Count -eq 0) { return }
    $clock = [Diagnostics.Stopwatch]::StartNew()
    try {
        $script:WsxManager = Open-WsxIis
        if ($null -eq $script:WsxManager) { Write-WsxRest $items (New-WsxErr 'iis_unavailable' 0 'IIS is not installed'); return }
        $kinds = @($script:WsxIisKinds | Where-Object { $k = $_; @($items | Where-Object { [string]$_.kind -ceq $k }).Count -gt 0 })
        $places = @(Get-WsxPlaces $script:WsxManager $kinds)
    } catch { Write-WsxRest $items (Get-WsxErr $_ 'iis_unavailable'); return }
    $records = @(Get-WsxIisRecords $places $items $who (Get-WsxSharedConfig $script:WsxManager) $secret)
    foreach ($rank in @(@(foreach ($r in $records) { $r.rank }) | Sort-Object -Unique)) {
        if ($rank -lt 0) { continue }
        Save-WsxPlaces @($records | Where-Object { $_.rank -eq $rank }) $kinds $who $secret
    }
    foreach ($r in $records) {
        $r.line.ms = [long]$clock.ElapsedMilliseconds
        Write-WsxItem $r.line
    }
}

# ---- recycle
# The commit itself recycles a started pool, unless that is switched off: only a pool whose workers are still the
# planned ones is recycled here. The old worker goes on serving until the new one is up.
function Restart-WsxPool($r, [int]$settleMs) {
    $line = @{ phase = 'recycle'; kind = 'iis_pool'; id = [string]$r.id; status = 'ok' }
    $clock = [Diagnostics.Stopwatch]::StartNew()
    try {
        $manager = Open-WsxIis
        $pool = $null
        if ($null -ne $manager) { $pool = Find-WsxPool $manager ([string]$r.id) }
        if ($null -eq $pool) { $line.status = 'failed'; $line.err = New-WsxErr 'not_found' 0 'there is no such pool' }
        else {
            $state = Get-WsxPoolState $pool
            $line.before = @{ state = $state }
            $planned = @(Get-WsxList $r 'workers' | Sort-Object)
            $same = ((@(Get-WsxWorkers $pool) -join ',') -eq ($planned -join ','))
            if ($planned.Count -eq 0) { $line.status = 'noop'; $line.reason = 'not_running' }
            elseif ($state -eq 'Stopped') { Set-WsxPoolStopped $line }
            elseif ($state -ne 'Started') { $line.status = 'skipped'; $line.reason = 'state_changed' }
            else {
                if ($same) { [void]$pool.Recycle() } else { $line.status = 'noop'; $line.reason = 'already_recycled' }
                Wait-WsxPool ([string]$r.id) $planned $settleMs $line
            }
        }
    } catch { $line.status = 'failed'; $line.err = Get-WsxErr $_ 'unknown' }
    $line.ms = [long]$clock.ElapsedMilliseconds
    Write-WsxItem $line
}
# Why the activation service stopped a pool, in its own words: the newest of its events about it; '' when there is none.
function Get-WsxPoolEvent([string]$name) {
    $filter = @{ LogName = 'System'; ProviderName = 'Microsoft-Windows-WAS'; Id = @(5002, 5021, 5057, 5059); StartTime = [DateTime]::Now.AddHours(-1) }
    try {
        foreach ($e in @(Get-WinEvent -FilterHashtable $filter)) {
            $about = @(foreach ($p in @($e.Properties)) { [string]$p.Value })
            if ($about -contains $name) { return ('WAS event ' + [string]$e.Id + ': ' + [string]$e.Message) }
        }
    } catch { return '' } # no such events
    return ''
}
# It ran when the plan was made. Without an event somebody stopped it meanwhile.
function Set-WsxPoolStopped($line) {
    $why = Get-WsxPoolEvent $line.id
    if ($why) {
        $line.status = 'failed'
        $line.Remove('reason')
        $line.err = New-WsxErr 'service_logon_failed' 0 ('the pool stopped when its new worker started. ' + $why)
    } else { $line.status = 'skipped'; $line.reason = 'state_changed' }
}
# A worker that cannot log on shows only here: the pool is stopped by the activation service. A pool that always runs
# must have its new worker; another gets it with the next request at the latest.
function Wait-WsxPool([string]$name, $old, [int]$settleMs, $line) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        [Threading.Thread]::Sleep(250)
        $pool = Find-WsxPool (Open-WsxIis) $name
        $line.after = @{ state = (Get-WsxPoolState $pool) }
        $now = @(Get-WsxWorkers $pool)
        $left = @($old | Where-Object { $now -contains $_ })
        $limit = $settleMs
        if ($left.Count -gt 0 -or (Test-WsxAlwaysRunning $pool)) { $limit += 30000 }
    } while ($line.after.state -eq 'Started' -and ($left.Count -gt 0 -or $now.Count -eq 0) -and $clock.ElapsedMilliseconds -lt $limit)
    if ($now.Count -gt 0) { $line.after.pid = [int]$now[0] }
    if ($line.after.state -ne 'Started') { Set-WsxPoolStopped $line }
    elseif ($left.Count -gt 0) {
        $line.status = 'timeout'
        $line.err = New-WsxErr 'stop_timeout' 0 'the old worker is still there'
    } elseif ($now.Count -eq 0 -and (Test-WsxAlwaysRunning $pool)) {
        $line.status = 'timeout'
        $line.err = New-WsxErr 'start_timeout' 0 'the pool always runs, and no new worker was seen'
    }
}
