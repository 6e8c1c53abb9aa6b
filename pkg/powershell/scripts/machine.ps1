# What this machine is, and who we are on it.
function Get-WsxRegistry([string]$path, [string]$name, $default) {
    try {
        $v = [Microsoft.Win32.Registry]::GetValue('HKEY_LOCAL_MACHINE\' + $path, $name, $default)
        if ($null -eq $v) { return $default }
        return $v
    } catch { return $default }
}
function Initialize-WsxMachine {
    $script:WsxHost = [string](Get-WsxRegistry 'SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName' 'ComputerName' ([Environment]::MachineName))
    $script:WsxDC = ([string](Get-WsxRegistry 'SYSTEM\CurrentControlSet\Control\ProductOptions' 'ProductType' '') -eq 'LanmanNT')
    $script:WsxIIS = ([int](Get-WsxRegistry 'SOFTWARE\Microsoft\InetStp' 'MajorVersion' 0) -ge 7)
    $script:WsxCluster = ([string](Get-WsxRegistry 'Cluster' 'ClusterName' '') -ne '')
    $me = [Security.Principal.WindowsIdentity]::GetCurrent()
    $script:WsxUser = [string]$me.Name
    $script:WsxUserSid = [string]$me.User.Value
    $admins = New-Object Security.Principal.SecurityIdentifier('S-1-5-32-544')
    $script:WsxElevated = [bool](New-Object Security.Principal.WindowsPrincipal($me)).IsInRole($admins)
    $script:WsxDomain = ''
}
function Write-WsxHello {
    $nt = 'SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $os = '{0}.{1}.{2}' -f (Get-WsxRegistry $nt 'CurrentMajorVersionNumber' 6), (Get-WsxRegistry $nt 'CurrentMinorVersionNumber' 3),
        (Get-WsxRegistry $nt 'CurrentBuildNumber' 0)
    Write-WsxLine 'hello' @{
        v = 1; run = [string](Get-WsxProp $script:WsxReq 'run' ''); host = $script:WsxHost; ps = [string]$PSVersionTable.PSVersion; os = $os
        lang = [string]$ExecutionContext.SessionState.LanguageMode; elevated = $script:WsxElevated; iis = $script:WsxIIS; cluster = $script:WsxCluster
    }
}
# A machine without a MachineGuid does not exist in practice; its name then stands in.
function Write-WsxMachine($who) {
    $line = @{
        guid = [string](Get-WsxRegistry 'SOFTWARE\Microsoft\Cryptography' 'MachineGuid' $script:WsxHost)
        domain = $script:WsxDomain; dc = $script:WsxDC; user = $script:WsxUser; userSid = $script:WsxUserSid
        storageDisabled = ([int](Get-WsxRegistry 'SYSTEM\CurrentControlSet\Control\Lsa' 'DisableDomainCreds' 0) -eq 1)
    }
    # Asked about nobody, it tells the policy that most service accounts are under.
    $scope = 'local'
    if ($null -ne $who) { $scope = $who.scope } elseif ($script:WsxDomain) { $scope = 'domain' }
    if ($null -ne $who -or @('ping', 'look') -ccontains [string](Get-WsxProp $script:WsxReq 'op' '')) {
        # Fine-grained policies are not read: a stricter one only makes the caller's ration too large by what it reserves anyway.
        $asked = ''
        if ($scope -eq 'domain' -and -not $script:WsxDC) { $asked = $script:WsxDomain }
        $n = -1
        if ($scope -ne 'domain' -or $script:WsxDC -or $asked) { $n = [WsxNative]::Threshold($asked) }
        if ($n -ge 0) { $line.lockoutThreshold = $n }
    }
    Write-WsxLine 'machine' $line
}
