# The throw-away account, service, tasks and pool: made, asked, and removed again.
function Get-SelfFolder { return [IO.Path]::Combine([Environment]::GetEnvironmentVariable('ProgramData'), 'Keyturn', 'selftest') }
function Get-SelfSid {
    return [string](New-Object Security.Principal.NTAccount(($script:WsxHost + '\' + $script:SelfUser))).Translate([Security.Principal.SecurityIdentifier]).Value
}
# The service's program, compiled here; readable by all, written by administrators only.
function New-SelfProgram {
    $folder = Get-SelfFolder
    $path = [IO.Path]::Combine($folder, 'keyturn-selftest.exe')
    if (-not (Test-WsxWindows)) { return $path }
    New-WsxFolder ([IO.Path]::GetDirectoryName($folder))
    if (-not (Test-WsxFolder ([IO.Path]::GetDirectoryName($folder)))) { throw 'the folder Keyturn of ProgramData is not an administrator''s' }
    if (-not [IO.Directory]::Exists($folder)) {
        $acl = New-Object Security.AccessControl.DirectorySecurity
        $acl.SetSecurityDescriptorSddlForm('O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)')
        [void][IO.Directory]::CreateDirectory($folder, $acl)
    }
    $p = New-Object CodeDom.Compiler.CompilerParameters
    $p.GenerateExecutable = $true
    $p.OutputAssembly = $path
    [void]$p.ReferencedAssemblies.Add('System.dll')
    [void]$p.ReferencedAssemblies.Add('System.ServiceProcess.dll')
    $r = (New-Object Microsoft.CSharp.CSharpCodeProvider).CompileAssemblyFromSource($p, [string[]]@($script:SelfServiceSource))
    if ($r.Errors.HasErrors) { throw ('the service''s program does not compile: ' + [string]$r.Errors[0].ErrorText) }
    return $path
}
function Add-SelfUser([int]$secret) { return [int][SelfNative]::AddUser($script:SelfUser, [string](Get-WsxSecret $secret)) }
function Add-SelfService([string]$path, [int]$secret) {
    return [int][SelfNative]::AddService($script:SelfServiceName, $path, ('.\' + $script:SelfUser), [string](Get-WsxSecret $secret))
}
# Fails as a whole: without an account there is nothing to ask.
function Invoke-SelfSetup {
    $code = Add-SelfUser (Get-WsxIndex 'new')
    Write-SelfFact 'setup.account' $code
    if ($code -ne 0) { return }
    try { Write-SelfFact 'setup.service' (Add-SelfService ('"' + (New-SelfProgram) + '"') (Get-WsxIndex 'new')) } catch { Write-SelfGap 'setup.service' $_ }
}
function Test-SelfLogon([int]$type, [int]$secret) {
    return [int][WsxNative]::Logon($script:SelfUser, $script:WsxHost, [string](Get-WsxSecret $secret), $type)
}
function Write-SelfBad([string]$id, [int]$before) { Write-SelfFact $id ([SelfNative]::Bad($script:SelfUser) - $before) }

# ---- logons: codes, and what they count
function Invoke-SelfLogons {
    $new = Get-WsxIndex 'new'; $wrong = Get-WsxIndex 'wrong'
    Write-SelfFact 'logon.3.right' (Test-SelfLogon 3 $new)
    Write-SelfFact 'logon.5.noright' (Test-SelfLogon 5 $new)
    Write-SelfFact 'logon.4.noright' (Test-SelfLogon 4 $new)
    Write-SelfBad 'logon.noright.counted' 0
    Write-SelfFact 'logon.3.wrong' (Test-SelfLogon 3 $wrong)
    Write-SelfBad 'logon.wrong.counted' 0
    $sid = Get-SelfSid
    Write-SelfFact 'right.service' ([SelfNative]::Right($sid, 'SeServiceLogonRight', $true))
    Write-SelfFact 'right.batch' ([SelfNative]::Right($sid, 'SeBatchLogonRight', $true))
    Write-SelfFact 'logon.5.granted' (Test-SelfLogon 5 $new)
    Write-SelfFact 'logon.4.granted' (Test-SelfLogon 4 $new)
    $code = [SelfNative]::MustChange($script:SelfUser, $true)
    Write-SelfFact 'mustchange.set' $code
    if ($code -eq 0) {
        Write-SelfFact 'logon.3.mustchange' (Test-SelfLogon 3 $new)
        Write-SelfFact 'logon.5.mustchange' (Test-SelfLogon 5 $new)
        Write-SelfFact 'mustchange.unset' ([SelfNative]::MustChange($script:SelfUser, $false))
    }
}

# ---- the service
function Get-SelfService {
    foreach ($mo in @((New-Object Management.ManagementClass('Win32_Service')).GetInstances())) {
        if ([string]$mo.GetPropertyValue('Name') -eq $script:SelfServiceName) { return $mo }
    }
    throw 'the throw-away service is not there'
}
# Win32_Service.Change with the password alone: what does a missing StartName mean?
function Set-SelfServiceAlone($mo, [int]$secret) {
    $in = $mo.GetMethodParameters('Change')
    $in.SetPropertyValue('StartPassword', [string](Get-WsxSecret $secret))
    return [int]($mo.InvokeMethod('Change', $in, $null)).GetPropertyValue('ReturnValue')
}
function Wait-SelfService([string]$state) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        $now = [WsxNative]::Service($script:SelfServiceName)
        $is = ''
        if ($now.Length -gt 1 -and $now[0] -ge 1 -and $now[0] -le 7) { $is = $script:WsxStates[$now[0]] }
        if ($is -eq $state) { return $is }
        [Threading.Thread]::Sleep(100)
    } while ($is -like '*Pending' -and $clock.ElapsedMilliseconds -lt 30000)
    return $is
}
# 0 when it runs, else the Windows error of the start.
function Start-SelfService {
    $sc = New-Object ServiceProcess.ServiceController($script:SelfServiceName)
    try { $sc.Start() } catch {
        $x = Get-WsxInner $_.Exception
        if ($x -is [ComponentModel.Win32Exception]) { return [int]$x.NativeErrorCode }
        throw
    } finally { $sc.Close() }
    $is = Wait-SelfService 'Running'
    if ($is -eq 'Running') { return 0 }
    return [int]([WsxNative]::Service($script:SelfServiceName))[2]
}
function Stop-SelfService {
    $sc = New-Object ServiceProcess.ServiceController($script:SelfServiceName)
    try { $sc.Stop() } catch {
        $x = Get-WsxInner $_.Exception
        if (-not ($x -is [ComponentModel.Win32Exception] -and $x.NativeErrorCode -eq 1062)) { throw }
    } finally { $sc.Close() }
    [void](Wait-SelfService 'Stopped')
}
function Set-SelfPassword([int]$old, [int]$new) {
    $code = [int][WsxNative]::Change('\\' + $script:WsxHost, $script:SelfUser, [string](Get-WsxSecret $old), [string](Get-WsxSecret $new))
    Write-SelfFact 'password.change' $code
    if ($code -ne 0) { Write-SelfFact 'password.reset' ([WsxNative]::Reset($script:SelfUser, [string](Get-WsxSecret $new))) }
}
function Invoke-SelfServices {
    $old = Get-WsxIndex 'old'; $new = Get-WsxIndex 'new'; $wrong = Get-WsxIndex 'wrong'
    Write-SelfFact 'service.start.right' (Start-SelfService)
    Stop-SelfService
    $bad = [SelfNative]::Bad($script:SelfUser)
    Write-SelfFact 'service.change.wrong' (Set-WsxService (Get-SelfService) $wrong)
    Write-SelfBad 'service.change.wrong.counted' $bad
    Write-SelfFact 'service.start.wrong' (Start-SelfService)
    Stop-SelfService
    Write-SelfFact 'service.change.alone' (Set-SelfServiceAlone (Get-SelfService) $old)
    $name = [string](Get-SelfService).GetPropertyValue('StartName')
    $kept = [string]::Equals($name, ('.\' + $script:SelfUser), [StringComparison]::OrdinalIgnoreCase)
    $shown = $name
    if ($kept) { $shown = 'kept' } elseif ($name -eq '') { $shown = 'none, which is LocalSystem' }
    Write-SelfFact 'service.change.alone.name' $shown
    if (-not $kept) { # what a null name did must not hide the answers that follow
        $in = (Get-SelfService).GetMethodParameters('Change')
        $in.SetPropertyValue('StartName', ('.\' + $script:SelfUser))
        $in.SetPropertyValue('StartPassword', [string](Get-WsxSecret $old))
        Write-SelfFact 'service.change.name' ([int]((Get-SelfService).InvokeMethod('Change', $in, $null)).GetPropertyValue('ReturnValue'))
    }
    Write-SelfFact 'service.start.alone' (Start-SelfService)
    Set-SelfPassword $old $new
    Write-SelfFact 'service.state.changed' (Wait-SelfService 'Running')
    Stop-SelfService
    $bad = [SelfNative]::Bad($script:SelfUser)
    Write-SelfFact 'service.start.old' (Start-SelfService)
    Write-SelfBad 'service.start.old.counted' $bad
    Stop-SelfService
    $bad = [SelfNative]::Bad($script:SelfUser)
    Write-SelfFact 'logon.5.old' (Test-SelfLogon 5 $old)
    Write-SelfBad 'logon.old.counted' $bad
    Write-SelfFact 'service.change.right' (Set-WsxService (Get-SelfService) $new)
    Write-SelfFact 'service.start.new' (Start-SelfService)
    Stop-SelfService
}
