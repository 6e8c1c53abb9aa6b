# The password itself: of a local account, or on a domain controller of a domain one.
function Invoke-WsxVerify($who) { [void](Test-WsxLogon $who 3 (Get-WsxIndex 'new')) }
# Changing with the old password keeps the account's encrypted files and certificates readable; a reset does not.
function Set-WsxPassword([string]$sam, [int]$new, [int]$old) {
    if ($old -ge 0) { return [WsxNative]::Change('\\' + $script:WsxHost, $sam, [string](Get-WsxSecret $old), [string](Get-WsxSecret $new)) }
    return [WsxNative]::Reset($sam, [string](Get-WsxSecret $new))
}
# Why this machine does not decide about the account, or null.
function Get-WsxAccountBar($who) {
    if ($who.class -eq 'managed' -or $who.class -eq 'virtual' -or $who.class -eq 'builtin') { return New-WsxErr ($who.class + '_account') 0 '' }
    if ($who.class -ne 'user') { return Get-WsxCodeErr 2221 }
    if ($who.scope -ne 'local' -and -not ($script:WsxDC -and $who.scope -eq 'domain')) {
        return New-WsxErr 'invalid_account' 0 'the password of this account is not decided on this machine'
    }
    return $null
}
# Why the password cannot be set here, or null.
function Get-WsxPasswordBar($who, [int]$old) {
    $bar = Get-WsxAccountBar $who
    if ($null -ne $bar) { return $bar }
    $reset = [bool](Get-WsxProp (Get-WsxProp $script:WsxReq 'policy' $null) 'allowReset' $false)
    if ($old -lt 0 -and -not $reset) { return New-WsxErr 'reset_not_allowed' 0 '' }
    return $null
}
function Invoke-WsxSetPassword($who) {
    $new = Get-WsxIndex 'new'; $old = Get-WsxIndex 'old'
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $line = @{ phase = 'set'; kind = 'account'; id = $who.sam; status = 'ok' }
    $bar = Get-WsxPasswordBar $who $old
    if ($null -ne $bar) { $line.status = 'failed'; $line.err = $bar }
    else {
        $code = [int](Set-WsxPassword $who.sam $new $old)
        if ($code -ne 0) { $line.status = 'failed'; $line.err = Get-WsxCodeErr $code }
    }
    $line.ms = [long]$clock.ElapsedMilliseconds
    Write-WsxItem $line
}
# Neither a reset nor time alone lets a locked account log on again.
function Invoke-WsxUnlock($who) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $line = @{ phase = 'unlock'; kind = 'account'; id = $who.sam; status = 'ok' }
    $bar = Get-WsxAccountBar $who
    if ($null -ne $bar) { $line.status = 'failed'; $line.err = $bar }
    else {
        $code = [WsxNative]::Unlock($who.sam)
        if ($code -lt 0) { $line.status = 'noop' }
        elseif ($code -ne 0) { $line.status = 'failed'; $line.err = Get-WsxCodeErr $code }
    }
    $line.ms = [long]$clock.ElapsedMilliseconds
    Write-WsxItem $line
}
