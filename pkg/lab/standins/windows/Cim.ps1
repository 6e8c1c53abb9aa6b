function Get-CimInstance {
    param([string]$ClassName, [string]$Filter, [string]$Namespace)
    if ($ClassName -eq 'Win32_Service' -and -not $Filter) { return [Lab.Cim]::Services() }
    if ($ClassName -eq 'Win32_Process' -and $Filter -match '^ProcessId=(\d+)$') { return [Lab.Cim]::Process([int]$Matches[1]) }
    if ($Namespace -eq 'root\MSCluster' -and $ClassName -eq 'MSCluster_Resource') {
        return [Lab.Cim]::Clustered() | ForEach-Object { [pscustomobject]@{ PrivateProperties = [pscustomobject]@{ ServiceName = $_ } } }
    }
    throw "no stand-in for Get-CimInstance $ClassName $Filter"
}
function Get-WinEvent {
    param([Collections.Hashtable]$FilterHashtable)
    if ($FilterHashtable.ProviderName -ne 'Microsoft-Windows-WAS') { throw 'no stand-in for these events' }
    $found = @([Lab.Cim]::PoolEvents() | Where-Object { $FilterHashtable.Id -contains $_.Id })
    if ($found.Count -eq 0) { throw 'No events were found that match the specified selection criteria.' }
    return $found
}
