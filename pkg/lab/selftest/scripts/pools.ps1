# IIS: does a commit of nothing but a password recycle the pool's worker?
function Set-SelfPool([int]$secret) {
    $manager = Open-WsxIis
    $pool = Find-WsxPool $manager $script:SelfPool
    if ($null -eq $pool) {
        $pool = $manager.ApplicationPools.Add($script:SelfPool)
        $pool.ProcessModel.SetAttributeValue('identityType', 3)
        $pool.ProcessModel.SetAttributeValue('userName', ($script:WsxHost + '\' + $script:SelfUser))
        $pool.SetAttributeValue('startMode', 1)
    }
    $pool.ProcessModel.SetAttributeValue('password', [string](Get-WsxSecret $secret))
    $manager.CommitChanges()
}
function Get-SelfWorkers {
    $pool = Find-WsxPool (Open-WsxIis) $script:SelfPool
    if ($null -eq $pool) { return '' }
    return (@(Get-WsxWorkers $pool) -join ',')
}
# The workers once they differ from known, or after 15 seconds those that there are.
function Wait-SelfWorkers([string]$known) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    do {
        $now = Get-SelfWorkers
        if ($now -ne '' -and $now -ne $known) { return $now }
        [Threading.Thread]::Sleep(500)
    } while ($clock.ElapsedMilliseconds -lt 15000)
    return $now
}
function Invoke-SelfPools {
    if (-not $script:WsxIIS) { Write-SelfFact 'pool.iis' 'absent'; return }
    $old = Get-WsxIndex 'old'; $new = Get-WsxIndex 'new'
    Set-SelfPool $old
    $first = Wait-SelfWorkers ''
    Write-SelfFact 'pool.workers.first' $first
    if ($first -eq '') { Write-SelfFact 'pool.recycled' 'no worker'; return }
    $code = [WsxNative]::Reset($script:SelfUser, [string](Get-WsxSecret $new))
    Write-SelfFact 'pool.reset' $code
    Set-SelfPool $new
    $second = Wait-SelfWorkers $first
    Write-SelfFact 'pool.workers.second' $second
    if ($second -ne $first) { Write-SelfFact 'pool.recycled' 'yes' } else { Write-SelfFact 'pool.recycled' 'no' }
}
