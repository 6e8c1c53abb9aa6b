# One request, one answer.
function Invoke-WsxOp([string]$op, $who) {
    switch ($op) {
        'ping' { return }
        'look' { Invoke-WsxLook $who }
        'update' { Invoke-WsxUpdate $who }
        'restart' { Invoke-WsxRestart }
        'repair' { Invoke-WsxRepair }
        'verify' { Invoke-WsxVerify $who }
        'set_local_password' { Invoke-WsxSetPassword $who }
        'unlock' { Invoke-WsxUnlock $who }
    }
}
# The class that keeps op from running here, or ''.
function Get-WsxBar([string]$op, $who) {
    $ops = @('ping', 'look', 'update', 'restart', 'repair', 'verify', 'set_local_password', 'unlock')
    if (-not ($ops -ccontains $op)) { return 'unknown_op' }
    if ($op -eq 'ping') { return '' }
    if ([Environment]::Is64BitOperatingSystem -and -not [Environment]::Is64BitProcess) { return 'wrong_bitness' }
    if ($op -eq 'look' -or $op -eq 'verify') { return '' }
    if (-not $script:WsxElevated) { return 'not_elevated' }
    $lock = 'restart'
    if (@('update', 'set_local_password', 'unlock') -ccontains $op) {
        $lock = [string]$who.sam
        if ($who.sids.Count -gt 0) { $lock = $who.sids[0] }
    }
    if (-not (Lock-Wsx $lock.Replace('\', '_'))) { return 'locked_by_other_run' }
    return ''
}
function Invoke-WsxMain {
    $script:WsxReq = ConvertFrom-Json -InputObject $WsxRequest
    $script:WsxNonce = [string](Get-WsxProp $script:WsxReq 'nonce' '')
    if ($script:WsxNonce -cnotmatch '\A[0-9a-f]{1,64}\z') { $script:WsxNonce = ''; return 99 }
    $script:WsxDeadline = [long](Get-WsxProp $script:WsxReq 'deadlineMs' 0)
    $op = [string](Get-WsxProp $script:WsxReq 'op' '')
    Initialize-WsxMachine
    Write-WsxHello
    Initialize-WsxNative
    $script:WsxDomain = [WsxNative]::Domain()
    $who = $null
    $target = Get-WsxProp $script:WsxReq 'target' $null
    if ($null -ne $target) { $who = Resolve-WsxTarget $target }
    $bar = Get-WsxBar $op $who
    # Nothing on a machine stores the password of a cloud account that its directory would accept.
    if ($bar -eq '' -and $op -eq 'update' -and $null -ne $who -and $who.scope -eq 'entra') { $bar = 'invalid_account' }
    if ($bar -eq '' -and $null -eq $who -and @('update', 'verify', 'set_local_password', 'unlock') -ccontains $op) { $bar = 'internal' }
    Write-WsxMachine $who
    if ($null -ne $who) { Write-WsxAccount $who }
    if ($bar -ne '') { Write-WsxFatal $bar $null; return 98 }
    if ($null -eq $who -and $op -eq 'look') { $who = Get-WsxEveryone }
    if ([bool](Get-WsxProp $script:WsxReq 'journal' $false) -and @('update', 'restart', 'repair') -ccontains $op) {
        if ($op -eq 'repair') { Read-WsxJournal ([string](Get-WsxProp $script:WsxReq 'run' '')) }
        Open-WsxJournal ([string](Get-WsxProp $script:WsxReq 'run' ''))
    }
    Invoke-WsxOp $op $who
    return Get-WsxCode
}
$WsxExit = 99
try { $WsxExit = [int](Invoke-WsxMain) } catch { Write-WsxFatal 'internal' (Get-WsxErr $_ 'internal'); $WsxExit = 99 }
Write-WsxBye $WsxExit
[Environment]::Exit($WsxExit)
