# Scheduled tasks: what registering one again keeps, what it validates, and where a password is stored.
function Get-SelfTaskXml([bool]$trigger) {
    $t = ''
    if ($trigger) { $t = '<RegistrationTrigger><Enabled>true</Enabled></RegistrationTrigger>' }
    return '<?xml version="1.0" encoding="UTF-16"?><Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">' +
        '<Triggers>' + $t + '</Triggers><Principals><Principal id="Author"><UserId>' + $script:WsxHost + '\' + $script:SelfUser + '</UserId>' +
        '<LogonType>Password</LogonType><RunLevel>LeastPrivilege</RunLevel></Principal></Principals><Settings><Enabled>true</Enabled>' +
        '<MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy><ExecutionTimeLimit>PT1M</ExecutionTimeLimit></Settings>' +
        '<Actions Context="Author"><Exec><Command>cmd.exe</Command><Arguments>/c exit 0</Arguments></Exec></Actions></Task>'
}
# 0, or the HRESULT of a registration.
function Set-SelfTask($folder, [string]$name, [string]$xml, [int]$flags, [int]$secret) {
    $user = $script:WsxHost + '\' + $script:SelfUser
    try { [void]$folder.RegisterTask($name, $xml, $flags, $user, [string](Get-WsxSecret $secret), 1, $null) } catch { return (Get-WsxErr $_ 'unknown').hresult }
    return '0'
}
# The result of a run: 0, or an HRESULT; 0x00041303 when it never ran.
function Start-SelfTask($folder, [string]$name) {
    try { [void]($folder.GetTask($name)).Run($null) } catch { return (Get-WsxErr $_ 'unknown').hresult }
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        [Threading.Thread]::Sleep(200)
        $t = $folder.GetTask($name)
        $busy = ([int]$t.State -eq 4 -or [int]$t.State -eq 2 -or [int]$t.LastTaskResult -eq 0x41303 -or [int]$t.LastTaskResult -eq 0x41301)
    } while ($busy -and $clock.ElapsedMilliseconds -lt 20000)
    return '0x{0:X8}' -f [int]$t.LastTaskResult
}
# What registering must keep, as far as this machine shows it.
function Get-SelfKept($task) {
    $r = @{ run = ''; acl = ''; user = (Get-WsxPrincipal ([string]$task.Xml)).userId }
    try { $r.run = ([DateTime]$task.LastRunTime).ToString('o', [Globalization.CultureInfo]::InvariantCulture) } catch { $r.run = '' }
    try { $r.acl = [string]$task.GetSecurityDescriptor(7) } catch { $r.acl = '' }
    return $r
}
function Write-SelfKept([string]$id, [string]$before, [string]$after) {
    if ($before -eq '') { Write-SelfFact $id 'not shown'; return }
    if ($before -ceq $after) { Write-SelfFact $id 'kept' } else { Write-SelfFact $id 'changed' }
}
function Write-SelfForm([string]$id, [string]$user) {
    $form = 'name'
    if ($user -match '^S-1-') { $form = 'sid' } elseif ($user.Contains('\')) { $form = 'DOMAIN\name' }
    Write-SelfFact $id $form
}
function Invoke-SelfTasks {
    $old = Get-WsxIndex 'old'; $new = Get-WsxIndex 'new'; $wrong = Get-WsxIndex 'wrong'
    $folder = (Open-WsxTasks).GetFolder('\').CreateFolder('keyturn-selftest', $null)
    Write-SelfFact 'task.create.one' (Set-SelfTask $folder 'one' (Get-SelfTaskXml $false) 0x32 $old)
    Write-SelfFact 'task.create.two' (Set-SelfTask $folder 'two' (Get-SelfTaskXml $false) 0x32 $old)
    Write-SelfFact 'task.create.trigger' (Set-SelfTask $folder 'trigger' (Get-SelfTaskXml $true) 0x32 $old)
    Write-SelfForm 'task.user.created' (Get-WsxPrincipal ([string]($folder.GetTask('one')).Xml)).userId
    Write-SelfFact 'task.run.right' (Start-SelfTask $folder 'one')
    $bad = [SelfNative]::Bad($script:SelfUser)
    Write-SelfFact 'task.update.wrong' (Set-SelfTask $folder 'one' ([string]($folder.GetTask('one')).Xml) 0x34 $wrong)
    Write-SelfBad 'task.update.wrong.counted' $bad
    Write-SelfFact 'task.reset' ([WsxNative]::Reset($script:SelfUser, [string](Get-WsxSecret $new)))
    $before = Get-SelfKept ($folder.GetTask('one'))
    Write-SelfFact 'task.update.right' (Set-SelfTask $folder 'one' ([string]($folder.GetTask('one')).Xml) 0x34 $new)
    $after = Get-SelfKept ($folder.GetTask('one'))
    Write-SelfKept 'task.update.lastRun' $before.run $after.run
    Write-SelfKept 'task.update.descriptor' $before.acl $after.acl
    Write-SelfKept 'task.update.userId' $before.user $after.user
    Write-SelfFact 'task.run.updated' (Start-SelfTask $folder 'one')
    Write-SelfFact 'task.run.other' (Start-SelfTask $folder 'two')
    Write-SelfFact 'task.update.trigger' (Set-SelfTask $folder 'trigger' ([string]($folder.GetTask('trigger')).Xml) 0x34 $new)
    [Threading.Thread]::Sleep(1000)
    Write-SelfFact 'task.trigger.result' ('0x{0:X8}' -f [int]($folder.GetTask('trigger')).LastTaskResult)
}
