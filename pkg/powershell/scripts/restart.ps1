# Carries out a restart plan. What this script stops it starts again, whatever happens in between.
function Get-WsxTime([string]$name, [int]$default) {
    $v = [int](Get-WsxProp (Get-WsxProp $script:WsxReq 'plan' $null) $name 0)
    if ($v -le 0) { return $default }
    return $v
}
# Polls until the service is in one of states; what it saw last either way.
function Wait-WsxService([string]$name, $states, [int]$ms) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $now = Get-WsxServiceNow $name
        if ($now.code -ne 0 -or @($states) -contains $now.state -or $clock.ElapsedMilliseconds -ge $ms) { return $now }
        [Threading.Thread]::Sleep(250)
    }
}
# A stop must not reach beyond the plan: .NET would stop active dependents by itself.
function Test-WsxActiveDependents([string]$name) {
    foreach ($d in @((Get-WsxNeighbours $name).children)) {
        if ((Get-WsxServiceNow $d).state -ne 'Stopped') { return $true }
    }
    return $false
}
# Why a planned stop is left out, as the line's fields; null when it goes ahead.
function Get-WsxStopBar($stop, $now) {
    if ($now.code -ne 0) { return @{ status = 'failed'; err = (Get-WsxCodeErr $now.code) } }
    $was = [string](Get-WsxProp $stop 'started' '')
    if ($now.state -ne [string]$stop.state -or $now.pid -ne [int]$stop.pid -or ($was -ne '' -and $now.started -ne $was)) {
        return @{ status = 'skipped'; reason = 'state_changed' }
    }
    if (Test-WsxDeadline) { return @{ status = 'pending'; err = (New-WsxErr 'deadline' 0 'the time was over before its turn') } }
    if ([int](Get-WsxRegistry (Get-WsxServiceKey ([string]$stop.id)) 'Start' 0) -eq 4) { return @{ status = 'skipped'; reason = 'not_restartable_disabled' } }
    if (Test-WsxActiveDependents ([string]$stop.id)) { return @{ status = 'failed'; err = (New-WsxErr 'dependents_blocked' 1051 'services that need it are still running') } }
    return $null
}
function Stop-WsxService([string]$name) {
    $sc = New-Object ServiceProcess.ServiceController($name)
    try { $sc.Stop() } finally { $sc.Close() }
}
# Ends the process of a service that does not stop, when the plan says so and no other service lives in it. Its failure
# actions may start it again at once.
function Stop-WsxProcess($r, $now) {
    if ([string](Get-WsxProp (Get-WsxProp $script:WsxReq 'plan' $null) 'onStopTimeout' '') -cne 'kill_own_process') { return $false }
    if (([int](Get-WsxRegistry (Get-WsxServiceKey $r.id) 'Type' 0x20) -band 0x10) -eq 0) { return $false }
    if ($now.pid -le 0 -or $now.pid -ne $r.before.pid -or $now.started -ne $r.before.started) { return $false }
    try {
        $p = [Diagnostics.Process]::GetProcessById($now.pid)
        try { $p.Kill() } finally { $p.Close() }
    } catch { return $false }
    if ((Wait-WsxService $r.id @('Stopped', 'StartPending', 'Running') 30000).state -eq 'StopPending') { return $false }
    $r.reason = 'killed'
    return $true
}
# One record for each planned stop: @{ id; status; stopped; ... }. stopped: a stop was asked for, so a start is owed.
function Invoke-WsxStop($stop, [int]$timeout) {
    $r = @{ id = [string]$stop.id; status = 'ok'; stopped = $false; clock = [Diagnostics.Stopwatch]::StartNew(); before = @{ state = ''; pid = 0; started = '' } }
    try {
        $now = Get-WsxServiceNow $r.id
        $r.before = Get-WsxServiceState $now
        $bar = Get-WsxStopBar $stop $now
        if ($null -ne $bar) { foreach ($k in @($bar.Keys)) { $r[$k] = $bar[$k] }; return $r }
        Write-WsxIntent 'stopping' $r.id
        $r.stopped = $true
        Stop-WsxService $r.id
        $now = Wait-WsxService $r.id @('Stopped') $timeout
        if ($now.state -eq 'StopPending' -and (Stop-WsxProcess $r $now)) { return $r }
        if ($now.state -ne 'Stopped') {
            $r.status = 'timeout'
            $r.err = New-WsxErr 'stop_timeout' 0 ('the service is ' + $now.state)
            Write-WsxItem @{ phase = 'stop'; kind = 'service'; id = $r.id; status = 'timeout'; err = $r.err }
        }
    } catch { $r.status = 'failed'; $r.err = Get-WsxErr $_ 'unknown' }
    return $r
}
function Start-WsxService([string]$name) {
    $sc = New-Object ServiceProcess.ServiceController($name)
    try { $sc.Start() } finally { $sc.Close() }
}
# Starts and waits; tries again only where that can help and costs no logon. Returns an error, or null.
function Invoke-WsxStart([string]$name, [int]$timeout) {
    for ($try = 1; $true; $try++) {
        $err = $null
        try {
            Start-WsxService $name
            $now = Wait-WsxService $name @('Running', 'Stopped', 'Paused') $timeout
            if ($now.state -eq 'Running' -or $now.state -eq 'Paused') { return $null }
            if ($now.code -ne 0) { $err = Get-WsxCodeErr $now.code }
            elseif ($now.state -ne 'Stopped') { return (New-WsxErr 'start_timeout' 1053 ('the service is ' + $now.state)) }
            elseif ($now.exit -ne 0 -and $now.exit -ne 1066 -and $now.exit -ne 1077) {
                $err = New-WsxErr 'died_after_start' $now.exit ('the service ended with code ' + $now.exit)
                if (@(1053, 1068, 1069) -contains $now.exit) { $err = Get-WsxCodeErr $now.exit }
            }
            else { $err = New-WsxErr 'died_after_start' $now.exit 'the service stopped right after its start' }
        } catch { $err = Get-WsxErr $_ 'unknown' }
        $native = 0
        if ($err.ContainsKey('native')) { $native = $err.native }
        if ($native -eq 1056) { return $null }
        if ($try -gt 2 -or -not (@(1053, 1055, 1068) -contains $native)) { return $err }
        [Threading.Thread]::Sleep(1000)
    }
}
function Suspend-WsxService([string]$name) {
    $sc = New-Object ServiceProcess.ServiceController($name)
    try { $sc.Pause() } finally { $sc.Close() }
    [void](Wait-WsxService $name @('Paused') 30000)
}
# Services that could not log on, and those that need them, in upper case.
$script:WsxNoLogon = @{}
# The error of a service that is not tried, or null: Windows would start what it needs first, and each of those logons
# counts towards a lockout.
function Get-WsxStartBar([string]$name) {
    if ($script:WsxNoLogon.Count -eq 0) { return $null }
    foreach ($n in @((Get-WsxNeighbours $name).needs)) {
        if ($script:WsxNoLogon.ContainsKey($n.ToUpperInvariant())) {
            $script:WsxNoLogon[$name.ToUpperInvariant()] = $true
            return (New-WsxErr 'dependency_failed' 1068 ($n + ', which it needs, could not log on: it was not tried'))
        }
    }
    return $null
}
# Starts what is owed for a record, and notes what came of it in the record.
function Complete-WsxStart($r, [bool]$pause, [int]$timeout) {
    $now = Get-WsxServiceNow $r.id
    if ($now.state -eq 'StopPending') {
        if ($r.status -eq 'ok') { $r.status = 'timeout'; $r.err = New-WsxErr 'stop_timeout' 0 'the service is StopPending' }
        return
    }
    $r.tried = $true
    if ($now.state -eq 'Stopped') {
        $err = Get-WsxStartBar $r.id
        if ($null -eq $err) {
            Write-WsxIntent 'starting' $r.id
            $err = Invoke-WsxStart $r.id $timeout
        }
        if ($null -ne $err) {
            if ($err.class -eq 'service_logon_failed') { $script:WsxNoLogon[$r.id.ToUpperInvariant()] = $true }
            $r.status = 'failed'
            $r.err = $err
            Write-WsxItem @{ phase = 'start'; kind = 'service'; id = $r.id; status = 'failed'; err = $err }
            return
        }
        Write-WsxIntent 'started' $r.id
        if ($r.status -eq 'timeout') { $r.status = 'ok'; $r.Remove('err') } # it stopped in the end
    }
    if ($pause -and (Get-WsxServiceNow $r.id).state -eq 'Running') {
        try { Suspend-WsxService $r.id } catch { $r.status = 'failed'; $r.err = Get-WsxErr $_ 'unknown' }
    }
    $r.running = Get-WsxServiceNow $r.id
}
# What is true of a started service once it had time to fall over.
function Confirm-WsxStart($r) {
    $now = Get-WsxServiceNow $r.id
    $r.after = Get-WsxServiceState $now
    if ($r.status -ne 'ok' -or -not $r.ContainsKey('running')) { return }
    if ($now.state -ne 'Running' -and $now.state -ne 'Paused') {
        $r.status = 'failed'
        $r.err = New-WsxErr 'died_after_start' $now.exit ('the service is ' + $now.state)
    } elseif ($now.pid -ne $r.running.pid) {
        $r.status = 'failed'
        $r.err = New-WsxErr 'flapping' 0 'the service was restarted again within moments'
    } elseif ($r.stopped -and $now.pid -eq $r.before.pid -and $now.started -eq $r.before.started -and
        ([int](Get-WsxRegistry (Get-WsxServiceKey $r.id) 'Type' 0x20) -band 0x10) -ne 0) {
        $r.status = 'failed'
        $r.err = New-WsxErr 'unknown' 0 'the service still runs in the same process'
    }
}
function Write-WsxRestarted($r, [string]$phase) {
    $line = @{ phase = $phase; kind = 'service'; id = $r.id; status = $r.status; before = $r.before; ms = [long]$r.clock.ElapsedMilliseconds }
    foreach ($k in @('after', 'reason', 'err')) { if ($r.ContainsKey($k)) { $line[$k] = $r[$k] } }
    Write-WsxItem $line
}
function Start-WsxOwed($records, $starts, [int]$timeout) {
    $owed = @{}
    foreach ($r in $records) { if ($r.stopped) { $owed[$r.id.ToUpperInvariant()] = $r } }
    $order = New-Object Collections.Generic.List[object]
    foreach ($s in @($starts)) { $order.Add(@{ id = [string]$s.id; pause = [bool](Get-WsxProp $s 'pause' $false) }) }
    # A plan that forgets a start must not leave anything down.
    for ($i = $records.Count - 1; $i -ge 0; $i--) { $order.Add(@{ id = $records[$i].id; pause = ([string]$records[$i].before.state -eq 'Paused') }) }
    foreach ($s in $order) {
        $key = $s.id.ToUpperInvariant()
        if (-not $owed.ContainsKey($key)) { continue }
        $r = $owed[$key]
        $owed.Remove($key)
        try { Complete-WsxStart $r $s.pause $timeout } catch { $r.status = 'failed'; $r.err = Get-WsxErr $_ 'unknown' }
    }
}
function Invoke-WsxRestart {
    $plan = Get-WsxProp $script:WsxReq 'plan' $null
    $stopMs = Get-WsxTime 'stopTimeoutMs' 90000
    $startMs = Get-WsxTime 'startTimeoutMs' 120000
    $settleMs = Get-WsxTime 'settleMs' 5000
    $records = New-Object Collections.Generic.List[object]
    try {
        foreach ($s in @(Get-WsxList $plan 'stops')) { $records.Add((Invoke-WsxStop $s $stopMs)) }
    } finally { Start-WsxOwed $records @(Get-WsxList $plan 'starts') $startMs }
    if (@($records | Where-Object { $_.stopped }).Count -gt 0) { [Threading.Thread]::Sleep($settleMs) }
    foreach ($r in $records) {
        Confirm-WsxStart $r
        Write-WsxRestarted $r 'restart'
    }
    foreach ($p in @(Get-WsxList $plan 'recycles')) { Restart-WsxPool $p $settleMs }
}

# ---- repair
$script:WsxStoppedByRun = @{}
function Read-WsxJournal([string]$run) {
    try {
        $path = Get-WsxJournalPath $run
        if ($null -eq $path -or -not [IO.File]::Exists($path) -or -not (Test-WsxFolder ([IO.Path]::GetDirectoryName($path)))) { return }
        foreach ($text in [IO.File]::ReadAllLines($path)) {
            if (-not $text.StartsWith('#WSX {') -or $text.IndexOf('"t":"stopping"') -lt 0) { continue }
            try { $l = ConvertFrom-Json -InputObject $text.Substring(5) } catch { continue }
            if ([string](Get-WsxProp $l 't' '') -ceq 'stopping') { $script:WsxStoppedByRun[([string]$l.id).ToUpperInvariant()] = $true }
        }
    } catch { return }
}
function Repair-WsxService($start, [int]$stopMs, [int]$startMs) {
    $r = @{ id = [string]$start.id; status = 'ok'; stopped = $false; clock = [Diagnostics.Stopwatch]::StartNew(); before = @{ state = ''; pid = 0; started = '' } }
    try {
        $now = Get-WsxServiceNow $r.id
        $r.before = Get-WsxServiceState $now
        if ($now.state -eq 'StopPending') { $now = Wait-WsxService $r.id @('Stopped', 'Running', 'Paused') $stopMs }
        elseif ($now.state -eq 'StartPending') { $now = Wait-WsxService $r.id @('Stopped', 'Running', 'Paused') $startMs }
        if ($now.code -ne 0) { $r.status = 'failed'; $r.err = Get-WsxCodeErr $now.code }
        elseif ($now.state -eq 'Stopped') {
            $r.reason = 'stopped_by_other'
            if ($script:WsxStoppedByRun.ContainsKey($r.id.ToUpperInvariant())) { $r.reason = 'stopped_by_run' }
            Complete-WsxStart $r ([bool](Get-WsxProp $start 'pause' $false)) $startMs
        } elseif ($now.state -eq 'Running' -or $now.state -eq 'Paused') {
            $r.status = 'noop'; $r.reason = 'already_running'
            # It was cut off between the start and the pause.
            if ([bool](Get-WsxProp $start 'pause' $false) -and $now.state -eq 'Running' -and $script:WsxStoppedByRun.ContainsKey($r.id.ToUpperInvariant())) {
                Suspend-WsxService $r.id
                $r.status = 'ok'
            }
        } else { $r.status = 'timeout'; $r.err = New-WsxErr 'service_transitioning' 0 ('the service is ' + $now.state) }
    } catch { $r.status = 'failed'; $r.err = Get-WsxErr $_ 'unknown' }
    return $r
}
function Invoke-WsxRepair {
    $plan = Get-WsxProp $script:WsxReq 'plan' $null
    $records = New-Object Collections.Generic.List[object]
    foreach ($s in @(Get-WsxList $plan 'starts')) {
        $records.Add((Repair-WsxService $s (Get-WsxTime 'stopTimeoutMs' 90000) (Get-WsxTime 'startTimeoutMs' 120000)))
    }
    if (@($records | Where-Object { $_.ContainsKey('tried') }).Count -gt 0) { [Threading.Thread]::Sleep((Get-WsxTime 'settleMs' 5000)) }
    foreach ($r in $records) {
        Confirm-WsxStart $r
        Write-WsxRestarted $r 'repair'
    }
}
