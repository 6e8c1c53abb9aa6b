# Who a run-as string is: decided by SID; by text only where this machine cannot resolve it.
$script:WsxSids = @{}
function Get-WsxSidClass([string]$sid, [string]$name) {
    if ($sid -match '^S-1-5-(17|18|19|20)$' -or $sid -match '^S-1-5-32-') { return 'builtin' }
    if ($sid -match '^S-1-5-(80|82|83|90|96)-') { return 'virtual' }
    if ($name.EndsWith('$')) { return 'managed' }
    return 'user'
}
# LSA's spelling of a SID, DOMAIN\sam, or ''.
function Get-WsxSidName([string]$sid) {
    try { return [string](New-Object Security.Principal.SecurityIdentifier($sid)).Translate([Security.Principal.NTAccount]).Value } catch { return '' }
}
# @{ sid; class; known }: sid is '' when the name cannot be resolved here.
function Resolve-WsxName([string]$name) {
    $key = $name.Trim().ToUpperInvariant()
    if ($script:WsxSids.ContainsKey($key)) { return $script:WsxSids[$key] }
    $r = @{ sid = ''; class = 'unresolved' }
    $n = $name.Trim()
    if ($n -eq '' -or $n -eq 'LocalSystem') { $r.sid = 'S-1-5-18' }
    elseif ($n -match '^S-1-\d+(-\d+)+$') { $r.sid = $n.ToUpperInvariant() }
    else {
        $asked = $n
        if ($n.StartsWith('.\')) {
            # On a domain controller the local accounts are the domain's.
            $asked = $script:WsxHost + $n.Substring(1)
            if ($script:WsxDC -and $script:WsxDomain) { $asked = $script:WsxDomain + $n.Substring(1) }
        }
        try { $r.sid = [string](New-Object Security.Principal.NTAccount($asked)).Translate([Security.Principal.SecurityIdentifier]).Value } catch { $r.sid = '' }
    }
    if ($r.sid) {
        $shown = $n
        if ($n -match '^S-1-') { $shown = Get-WsxSidName $r.sid }
        $r.class = Get-WsxSidClass $r.sid $shown
    } elseif ($n.EndsWith('$')) { $r.class = 'managed' }
    $script:WsxSids[$key] = $r
    return $r
}
function Get-WsxSam([string]$name) {
    if ($name.Contains('\')) { return $name.Substring($name.IndexOf('\') + 1) }
    if ($name.Contains('@')) { return $name.Substring(0, $name.LastIndexOf('@')) }
    return $name
}
# Where an account with a password lives, by its SID and LSA's spelling of it; '' when that is not known.
function Get-WsxScope([string]$sid, [string]$name) {
    if ($sid.StartsWith('S-1-12-1-')) { return 'entra' }
    if (-not $name) { return '' }
    if ($name.StartsWith($script:WsxHost + '\', [StringComparison]::OrdinalIgnoreCase) -and -not $script:WsxDC) { return 'local' }
    return 'domain'
}
# The target of a look that names none: everyone whose password is, or may be, somebody's to change.
function Get-WsxEveryone {
    return @{
        everyone = $true; sids = @(); names = @(); sam = ''; logonUser = ''; logonDomain = ''; taskUser = ''
        name = ''; class = 'unresolved'; scope = ''
    }
}
function Get-WsxOwner($r) {
    $m = @{ hit = $false; by = 'none'; class = $r.class }
    if ($r.sid) {
        if (-not $r.ContainsKey('name')) { $r.name = Get-WsxSidName $r.sid }
        $m.sid = $r.sid
        $m.by = 'sid'
        $m.name = $r.name
        $m.scope = Get-WsxScope $r.sid $r.name
        if (-not $r.name -and $r.class -eq 'user') { $m.class = 'unresolved' }
    }
    $m.hit = (@('user', 'managed', 'unresolved') -ccontains $m.class)
    return $m
}
# A name that merely looks like the target's is reported as ambiguous, and never acted on.
function Get-WsxMatch([string]$runAs, $who) {
    $r = Resolve-WsxName $runAs
    if ($who.everyone) { return (Get-WsxOwner $r) }
    $m = @{ hit = $false; by = 'none'; class = $r.class }
    if ($r.sid) {
        $m.sid = $r.sid
        $m.by = 'sid'
        $m.hit = (@($who.sids) -contains $r.sid)
        # Another account of the same name, a local one say: nobody may take it for the target when reading the inventory.
        if (-not $m.hit -and $r.class -eq 'user' -and $who.sids.Count -gt 0 -and
            [string]::Equals((Get-WsxSam $runAs), [string]$who.sam, [StringComparison]::OrdinalIgnoreCase)) { $m.namesake = $true }
        return $m
    }
    foreach ($n in @($who.names)) {
        if ([string]::Equals($n, $runAs, [StringComparison]::OrdinalIgnoreCase)) { $m.by = 'name'; $m.hit = $true; return $m }
    }
    $m.ambiguous = [string]::Equals((Get-WsxSam $runAs), [string]$who.sam, [StringComparison]::OrdinalIgnoreCase)
    return $m
}
# Not the target, and worth telling: it looks like it.
function Test-WsxDoubt($match) { return (($match.ContainsKey('ambiguous') -and $match.ambiguous) -or $match.ContainsKey('namesake')) }
# Why an item is not written; '' when it may be.
function Get-WsxRefusal($match) {
    if ($match.ContainsKey('ambiguous') -and $match.ambiguous) { return 'ambiguous_identity' }
    if ($match.class -eq 'managed') { return 'managed_account' }
    if ($match.class -eq 'virtual') { return 'virtual_account' }
    if ($match.class -eq 'builtin') { return 'builtin_account' }
    if (-not $match.hit) { return 'run_as_changed' }
    return ''
}

# The target as this machine knows it; what the request left open is resolved here.
function Resolve-WsxTarget($t) {
    $who = @{
        everyone = $false; sids = @(Get-WsxList $t 'sids'); names = @(Get-WsxList $t 'names'); sam = [string](Get-WsxProp $t 'sam' '')
        logonUser = [string](Get-WsxProp $t 'logonUser' ''); logonDomain = [string](Get-WsxProp $t 'logonDomain' '')
        taskUser = [string](Get-WsxProp $t 'taskUser' ''); name = ''; class = 'unresolved'; scope = ''
    }
    if ($who.sids.Count -eq 0) {
        foreach ($n in $who.names) {
            $r = Resolve-WsxName $n
            if ($r.sid) { $who.sids = @($r.sid); break }
        }
    }
    if ($who.sids.Count -eq 0) { return $who }
    $who.name = Get-WsxSidName $who.sids[0]
    $who.class = Get-WsxSidClass $who.sids[0] $who.name
    if (-not $who.name -and $who.class -eq 'user') { $who.class = 'unresolved' }
    $who.scope = Get-WsxScope $who.sids[0] $who.name
    if ($who.name) { $who.sam = Get-WsxSam $who.name }
    if (-not $who.taskUser) { $who.taskUser = $who.name }
    return $who
}
function Write-WsxAccount($who) {
    $line = @{ sid = ''; sam = $who.sam; name = $who.name; class = $who.class; scope = $who.scope }
    if ($who.sids.Count -gt 0) {
        $line.sid = $who.sids[0]
        $line.selfRotation = (@($who.sids) -contains $script:WsxUserSid)
    }
    if ($who.class -eq 'user' -and ($who.scope -eq 'local' -or ($script:WsxDC -and $who.scope -eq 'domain'))) {
        $state = [WsxNative]::Account($who.sam)
        if ($state.Length -eq 3) {
            $line.statusKnown = $true
            $line.disabled = (($state[0] -band 2) -ne 0)
            $line.locked = (($state[0] -band 16) -ne 0)
            $line.mustChange = ($state[1] -ne 0)
            $line.badCount = $state[2]
        }
    }
    Write-WsxLine 'account' $line
}
