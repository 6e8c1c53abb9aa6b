# Proof by logon, then the stored credentials. Nothing is written unless Windows itself accepts the password.
function Get-WsxGuard($match, [string]$runAs, $item) {
    $expected = [string](Get-WsxProp $item 'expectRunAs' '')
    if ($expected -and -not [string]::Equals($expected, $runAs, [StringComparison]::OrdinalIgnoreCase)) { return 'run_as_changed' }
    return (Get-WsxRefusal $match)
}
# One logon; 0 and the refusals that come after the password was checked mean that it is right.
function Test-WsxLogon($who, [int]$type, [int]$secret) {
    $code = [WsxNative]::Logon($who.logonUser, $who.logonDomain, [string](Get-WsxSecret $secret), $type)
    $right = @(0, 1327, 1328, 1329, 1385) -contains $code
    Write-WsxLine 'proof' @{ type = $type; code = $code; passwordOk = $right; granted = ($code -eq 0) }
    if ($code -eq 1385 -and (Grant-WsxRight $who $type)) { return (Test-WsxGranted $who $type $secret) }
    if ($right) { return 0 }
    return $code
}
# Gives the account the right that a logon of this type needs, when the request says so and the account lacks it.
function Grant-WsxRight($who, [int]$type) {
    if (-not [bool](Get-WsxProp (Get-WsxProp $script:WsxReq 'policy' $null) 'grantRights' $false)) { return $false }
    $rights = @{ 4 = 'SeBatchLogonRight'; 5 = 'SeServiceLogonRight' }
    if ($who.sids.Count -eq 0 -or -not $rights.ContainsKey($type)) { return $false }
    return ([WsxNative]::Grant($who.sids[0], $rights[$type]) -eq 0)
}
# The logon once more after the right was given; one that is denied elsewhere is refused as before.
function Test-WsxGranted($who, [int]$type, [int]$secret) {
    $code = [WsxNative]::Logon($who.logonUser, $who.logonDomain, [string](Get-WsxSecret $secret), $type)
    $right = @(0, 1327, 1328, 1329, 1385) -contains $code
    Write-WsxLine 'proof' @{ type = $type; code = $code; passwordOk = $right; granted = ($code -eq 0) }
    if ($right) { return 0 }
    return $code
}
# The error of the first refused logon, or null. After a refusal no other is tried: each counts towards a lockout.
# Services log on as type 5, tasks and most pools as 4; what IIS logs on for a request needs the network's right.
function Get-WsxProof($who, $services, $batch, $network, [int]$secret) {
    $types = @()
    if (@($services).Count -gt 0) { $types += 5 }
    if (@($batch).Count -gt 0) { $types += 4 }
    if (@($network).Count -gt 0) { $types += 3 }
    foreach ($t in $types) {
        $code = Test-WsxLogon $who $t $secret
        if ($code -ne 0) { return (Get-WsxCodeErr $code) }
    }
    return $null
}
function Get-WsxAsked([string]$kind) {
    foreach ($i in @(Get-WsxList $script:WsxReq 'items')) { if ([string]$i.kind -ceq $kind) { $i } }
}
function Invoke-WsxUpdate($who) {
    $secret = Get-WsxIndex 'new'
    $services = @(Get-WsxAsked 'service'); $tasks = @(Get-WsxAsked 'task'); $pools = @(Get-WsxAsked 'iis_pool')
    $requests = @(Get-WsxAsked 'iis_vdir') + @(Get-WsxAsked 'iis_anon')
    $asService = @(Get-WsxServicePools $pools)
    $asBatch = @($pools | Where-Object { $asService -notcontains [string]$_.id })
    $refused = Get-WsxProof $who ($services + $asService) ($tasks + $asBatch) $requests $secret
    if ($null -ne $refused) {
        foreach ($i in ($services + $pools + $requests + $tasks)) {
            Write-WsxItem @{ phase = 'update'; kind = [string]$i.kind; id = [string]$i.id; status = 'pending'; err = $refused }
        }
        Invoke-WsxLook $who
        return
    }
    if ($services.Count -gt 0) {
        try { Update-WsxServices $services $who $secret } catch { Write-WsxRest $services (Get-WsxErr $_ 'unknown') }
    }
    Update-WsxIis ($pools + $requests) $who $secret
    Update-WsxTasks $tasks $who $secret
    Wait-WsxPending $services
    Invoke-WsxLook $who
}
# A service on its way is given time to arrive: the fresh look then shows a state that its restart can be planned from.
function Wait-WsxPending($services) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    foreach ($i in $services) {
        while ((Get-WsxServiceNow ([string]$i.id)).state.EndsWith('Pending')) {
            if ($clock.ElapsedMilliseconds -ge 30000 -or (Test-WsxDeadline)) { return }
            [Threading.Thread]::Sleep(250)
        }
    }
}
# The enumeration itself failed: none of them was touched.
function Write-WsxRest($items, $err) {
    foreach ($i in $items) { Write-WsxItem @{ phase = 'update'; kind = [string]$i.kind; id = [string]$i.id; status = 'failed'; err = $err } }
}
