# Inventory of what runs as the target. Changes nothing.
function Test-WsxKind([string]$kind) { return (@(Get-WsxList $script:WsxReq 'kinds') -ccontains $kind) }
function Invoke-WsxLook($who) {
    if (Test-WsxKind 'service') { Write-WsxServices $who }
    if (Test-WsxKind 'task') { Write-WsxTasks $who }
    Write-WsxIis $who
    if (Test-WsxKind 'report') { Write-WsxReports $who }
}
