# Scheduled tasks, through COM. The XML decides: COM's own Principal.UserId and the ScheduledTasks module strip the domain.
$script:WsxTaskStates = @('unknown', 'Disabled', 'Queued', 'Ready', 'Running')
function Open-WsxTasks {
    $service = New-Object -ComObject Schedule.Service
    $service.Connect()
    return $service
}
function Get-WsxTasks($folder) {
    foreach ($t in @($folder.GetTasks(1))) { $t } # 1: hidden ones too
    foreach ($f in @($folder.GetFolders(0))) { Get-WsxTasks $f }
}
# The principal that Actions/@Context names; a missing LogonType is InteractiveToken.
function Get-WsxPrincipal([string]$xml) {
    $doc = New-Object Xml.XmlDocument
    $doc.XmlResolver = $null
    $doc.LoadXml($xml)
    $ns = New-Object Xml.XmlNamespaceManager($doc.NameTable)
    $ns.AddNamespace('t', 'http://schemas.microsoft.com/windows/2004/02/mit/task')
    $all = @($doc.SelectNodes('/t:Task/t:Principals/t:Principal', $ns))
    $p = $null
    if ($all.Count -gt 0) { $p = $all[0] }
    $context = $doc.SelectSingleNode('/t:Task/t:Actions/@Context', $ns)
    if ($null -ne $context) { foreach ($n in $all) { if ($n.GetAttribute('id') -ceq $context.Value) { $p = $n } } }
    $r = @{ userId = ''; logonType = 'InteractiveToken'; warn = @() }
    if ($null -eq $p) { return $r }
    # What registering it again may bring about.
    if ($null -ne $doc.SelectSingleNode('/t:Task/t:Settings/t:DeleteExpiredTaskAfter', $ns)) { $r.warn += 'deletes_when_expired' }
    $node = $doc.SelectSingleNode('/t:Task/t:Settings/t:StartWhenAvailable', $ns)
    if ($null -ne $node -and $node.InnerText.Trim() -eq 'true') { $r.warn += 'runs_when_missed' }
    $node = $p.SelectSingleNode('t:UserId', $ns)
    if ($null -ne $node) { $r.userId = [string]$node.InnerText }
    $node = $p.SelectSingleNode('t:LogonType', $ns)
    if ($null -ne $node) { $r.logonType = [string]$node.InnerText }
    return $r
}
function Test-WsxStores([string]$logonType) { return ($logonType -eq 'Password' -or $logonType -eq 'InteractiveTokenOrPassword') }
function Get-WsxTaskState($task) {
    $n = [int]$task.State
    if ($n -lt 0 -or $n -gt 4) { return 'unknown' }
    return $script:WsxTaskStates[$n]
}
# Processes of a running task are no strangers.
function Add-WsxInstances($task) {
    try {
        foreach ($r in @($task.GetInstances(0))) { $script:WsxExplained[[int]$r.EnginePID] = $true }
    } catch { return }
}
function Write-WsxTasks($who) {
    try { $service = Open-WsxTasks; $root = $service.GetFolder('\') } catch {
        Write-WsxItem @{ phase = 'look'; kind = 'task'; id = '\'; status = 'failed'; err = (Get-WsxErr $_ 'task_service_down') }
        return
    }
    foreach ($t in @(Get-WsxTasks $root)) {
        try {
            $p = Get-WsxPrincipal ([string]$t.Xml)
            if (-not $p.userId) { continue }
            $m = Get-WsxMatch $p.userId $who
            if (-not $m.hit -and -not (Test-WsxDoubt $m)) { continue }
            $line = @{
                phase = 'look'; kind = 'task'; id = [string]$t.Path; runAs = $p.userId; match = $m; logonType = $p.logonType
                stores = (Test-WsxStores $p.logonType); state = (Get-WsxTaskState $t); warn = $p.warn
            }
            Add-WsxInstances $t
            $why = Get-WsxRefusal $m
            if ($m.ContainsKey('namesake')) { $why = 'other_account' }
            if (-not $why -and -not $line.stores) { $why = 'no_stored_password' }
            if ($why) { $line.status = 'skipped'; $line.reason = $why }
            Write-WsxItem $line
        } catch {
            Write-WsxItem @{ phase = 'look'; kind = 'task'; id = [string]$t.Path; status = 'failed'; err = (Get-WsxErr $_ 'task_xml_invalid') }
        }
    }
}
# 0x34: update, do not add the principal to the descriptor, do not run registration triggers.
function Set-WsxTask($folder, $task, [string]$user, [int]$logonType, [int]$secret) {
    [void]$folder.RegisterTask([string]$task.Name, [string]$task.Xml, 0x34, $user, [string](Get-WsxSecret $secret), $logonType, $null)
}
function Update-WsxTask($service, $i, $who, [int]$secret) {
    $line = @{ phase = 'update'; kind = 'task'; id = [string]$i.id; status = 'ok' }
    $clock = [Diagnostics.Stopwatch]::StartNew()
    try {
        $path = [string]$i.id
        $cut = $path.LastIndexOf('\')
        $dir = '\'
        if ($cut -gt 0) { $dir = $path.Substring(0, $cut) }
        $folder = $service.GetFolder($dir)
        $task = $folder.GetTask($path.Substring($cut + 1))
        $p = Get-WsxPrincipal ([string]$task.Xml)
        $line.before = @{ runAs = $p.userId; state = (Get-WsxTaskState $task) }
        $why = Get-WsxGuard (Get-WsxMatch $p.userId $who) $p.userId $i
        if (-not $why -and -not (Test-WsxStores $p.logonType)) { $why = 'no_stored_password' }
        if ($why) { $line.status = 'skipped'; $line.reason = $why }
        else {
            $type = 1
            if ($p.logonType -eq 'InteractiveTokenOrPassword') { $type = 6 }
            Set-WsxTask $folder $task $who.taskUser $type $secret
            $now = $folder.GetTask($path.Substring($cut + 1))
            $q = Get-WsxPrincipal ([string]$now.Xml)
            $line.after = @{ runAs = $q.userId; state = (Get-WsxTaskState $now) }
            if ($q.logonType -ne $p.logonType -or -not (Get-WsxMatch $q.userId $who).hit) {
                $line.status = 'failed'
                $line.err = New-WsxErr 'unknown' 0 'the task runs with another principal after its registration'
            }
        }
    } catch { $line.status = 'failed'; $line.err = Get-WsxErr $_ 'unknown' }
    $line.ms = [long]$clock.ElapsedMilliseconds
    return $line
}
# Each registration validates the password: after one rejection the rest is not tried, so that the account is not locked.
function Update-WsxTasks($items, $who, [int]$secret) {
    if (@($items).Count -eq 0) { return }
    $service = $null; $stop = $null
    try { $service = Open-WsxTasks } catch { $stop = Get-WsxErr $_ 'task_service_down' }
    foreach ($i in @($items)) {
        if ($null -ne $stop) {
            $status = 'pending'
            if ($stop.class -eq 'task_service_down') { $status = 'failed' }
            Write-WsxItem @{ phase = 'update'; kind = 'task'; id = [string]$i.id; status = $status; err = $stop }
            continue
        }
        $line = Update-WsxTask $service $i $who $secret
        Write-WsxItem $line
        if ($line.ContainsKey('err') -and @('credential_rejected', 'account_locked', 'account_disabled', 'account_expired', 'account_expired_pw') -ccontains $line.err.class) {
            $stop = $line.err
        }
    }
}
