# How many wrong passwords lock the account; the last question, because nothing works after it.
function Invoke-SelfLockout {
    $wrong = Get-WsxIndex 'wrong'
    $n = [WsxNative]::Threshold('')
    Write-SelfFact 'lockout.threshold' $n
    if ($n -lt 1 -or $n -gt 20) { return }
    $code = 0
    for ($i = 1; $i -le ($n + 2); $i++) {
        $code = Test-SelfLogon 3 $wrong
        if ($code -eq 1909) { break }
    }
    Write-SelfFact 'lockout.attempts' ($i - 1)
    Write-SelfFact 'logon.3.locked' (Test-SelfLogon 3 (Get-WsxIndex 'new'))
}
# Goes on after the connection was cut, as a restart must: says that it began, waits, and leaves a mark.
function Invoke-SelfCut {
    $path = [IO.Path]::Combine((Get-SelfFolder), 'cut.txt')
    if (-not (Test-WsxWindows)) { [void][IO.Directory]::CreateDirectory((Get-SelfFolder)) }
    [IO.File]::Delete($path)
    Write-SelfFact 'cut.began' '1'
    [Threading.Thread]::Sleep([int](Get-WsxProp (Get-WsxProp $script:WsxReq 'plan' $null) 'settleMs' 5000))
    [IO.File]::WriteAllText($path, 'survived')
    Write-SelfFact 'cut.ended' '1'
}
function Invoke-SelfMark {
    Write-SelfFact 'cut.survived' ([int][IO.File]::Exists([IO.Path]::Combine((Get-SelfFolder), 'cut.txt')))
}

# ---- cleaning up: each thing by its own name, one failure keeps no other from going
function Remove-SelfTasks {
    $root = (Open-WsxTasks).GetFolder('\')
    $folder = $null
    foreach ($f in @($root.GetFolders(0))) { if ([string]$f.Path -eq $script:SelfFolder) { $folder = $f } }
    if ($null -eq $folder) { return }
    foreach ($t in @($folder.GetTasks(1))) { $folder.DeleteTask([string]$t.Name, 0) }
    $root.DeleteFolder('keyturn-selftest', 0)
}
function Remove-SelfPool {
    if (-not $script:WsxIIS) { return }
    $manager = Open-WsxIis
    $pool = Find-WsxPool $manager $script:SelfPool
    if ($null -eq $pool) { return }
    [void]$manager.ApplicationPools.Remove($pool)
    $manager.CommitChanges()
    if ($null -ne (Find-WsxPool (Open-WsxIis) $script:SelfPool)) { throw 'the pool is still there' }
}
function Remove-SelfService {
    if (([WsxNative]::Service($script:SelfServiceName)).Length -eq 1) { return }
    try { Stop-SelfService } catch { Write-SelfGap 'cleanup.stop' $_ }
    $code = [SelfNative]::RemoveService($script:SelfServiceName)
    if ($code -ne 0) { throw (New-Object ComponentModel.Win32Exception($code)) }
}
# What logging on as a service or batch job left below C:\Users; it may be in use for a moment after that.
function Remove-SelfProfile([string]$sid) {
    if (-not (Test-WsxWindows)) { return }
    foreach ($p in @((New-Object Management.ManagementClass('Win32_UserProfile')).GetInstances())) {
        if ([string]$p.GetPropertyValue('SID') -ne $sid) { continue }
        for ($try = 1; $try -le 20; $try++) {
            try { $p.Delete(); return } catch { if ($try -eq 20) { throw } else { [Threading.Thread]::Sleep(500) } }
        }
    }
}
function Remove-SelfUser {
    $sid = ''
    try { $sid = Get-SelfSid } catch { Write-SelfFact 'cleanup.rights' 'there is no account' }
    if ($sid) {
        try { [void][SelfNative]::Right($sid, '', $false); Remove-SelfProfile $sid } catch { Write-SelfGap 'cleanup.profile' $_ }
    }
    $code = [SelfNative]::RemoveUser($script:SelfUser)
    if ($code -ne 0 -and $code -ne 2221) { throw (New-Object ComponentModel.Win32Exception($code)) }
}
function Remove-SelfFolder {
    $folder = Get-SelfFolder
    for ($try = 1; [IO.Directory]::Exists($folder); $try++) { # the program's file is in use until its process is gone
        try { [IO.Directory]::Delete($folder, $true) } catch { if ($try -ge 20) { throw } else { [Threading.Thread]::Sleep(500) } }
    }
}
function Invoke-SelfCleanup {
    try { Remove-SelfTasks; Write-SelfFact 'cleanup.tasks' '0' } catch { Write-SelfGap 'cleanup.tasks' $_ }
    try { Remove-SelfPool; Write-SelfFact 'cleanup.pool' '0' } catch { Write-SelfGap 'cleanup.pool' $_ }
    try { Remove-SelfService; Write-SelfFact 'cleanup.service' '0' } catch { Write-SelfGap 'cleanup.service' $_ }
    try { Remove-SelfUser; Write-SelfFact 'cleanup.account' '0' } catch { Write-SelfGap 'cleanup.account' $_ }
    try { Remove-SelfFolder; Write-SelfFact 'cleanup.folder' '0' } catch { Write-SelfGap 'cleanup.folder' $_ }
}

function Invoke-SelfOp([string]$op) {
    switch ($op) {
        'selftest_facts' { Invoke-SelfFacts }
        'selftest_events' { Invoke-SelfEvents }
        'selftest_setup' { Invoke-SelfSetup }
        'selftest_logons' { Invoke-SelfLogons }
        'selftest_services' { Invoke-SelfServices }
        'selftest_tasks' { Invoke-SelfTasks }
        'selftest_pools' { Invoke-SelfPools }
        'selftest_cut' { Invoke-SelfCut }
        'selftest_mark' { Invoke-SelfMark }
        'selftest_lockout' { Invoke-SelfLockout }
        'selftest_cleanup' { Invoke-SelfCleanup }
    }
}
function Invoke-SelfMain {
    $script:WsxReq = ConvertFrom-Json -InputObject $WsxRequest
    $script:WsxNonce = [string](Get-WsxProp $script:WsxReq 'nonce' '')
    if ($script:WsxNonce -cnotmatch '\A[0-9a-f]{1,64}\z') { $script:WsxNonce = ''; return 99 }
    $op = [string](Get-WsxProp $script:WsxReq 'op' '')
    Initialize-WsxMachine
    Write-WsxHello
    Initialize-WsxNative
    Write-WsxMachine $null
    if (@('selftest_facts', 'selftest_events') -cnotcontains $op) {
        if ([Environment]::Is64BitOperatingSystem -and -not [Environment]::Is64BitProcess) { Write-WsxFatal 'wrong_bitness' $null; return 98 }
        if (-not $script:WsxElevated) { Write-WsxFatal 'not_elevated' $null; return 98 }
        # The local accounts of a domain controller are the domain's: nothing is made there.
        if ($script:WsxDC -and $op -ne 'selftest_cleanup') { Write-WsxFatal 'unknown_op' (New-WsxErr 'unknown_op' 0 'nothing is made on a domain controller'); return 98 }
        Add-Type -TypeDefinition $script:SelfNativeSource
    }
    Invoke-SelfOp $op
    return 0
}
$WsxExit = 99
try { $WsxExit = [int](Invoke-SelfMain) } catch { Write-WsxFatal 'internal' (Get-WsxErr $_ 'internal'); $WsxExit = 99 }
Write-WsxBye $WsxExit
[Environment]::Exit($WsxExit)
