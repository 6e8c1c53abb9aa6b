# Reads the frame from standard input and runs the script in it. Nothing runs before the digest matches.
# Lines that begin with # are left out of the command line. No $input here: the host would read stdin itself.
$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue'
if("$($ExecutionContext.SessionState.LanguageMode)" -ne 'FullLanguage'){'#WSX {"t":"fatal","class":"constrained_language"}';exit 98}
function WsxDie([string]$c,[int]$g,[int]$w){$b=[Text.Encoding]::ASCII.GetBytes("`n#WSX "+'{"t":"fatal","class":"'+$c+'","got":'+$g+',"want":'+$w+"}`n")
$s=[Console]::OpenStandardOutput();$s.Write($b,0,$b.Length);$s.Flush();[Environment]::Exit(97)}
$WsxIn=[Console]::OpenStandardInput()
function WsxRead([int]$n){$b=New-Object byte[] $n;$o=0
while($o -lt $n){$r=$WsxIn.Read($b,$o,$n-$o);if($r -le 0){WsxDie 'transport_truncated' $o $n};$o+=$r}
,$b}
$a=[Text.Encoding]::ASCII
$h=$a.GetString((WsxRead 81))
if($h -cnotmatch '\AWSX1 [0-9]{10} [0-9a-f]{64}\n\z'){WsxDie 'transport_header' 81 81}
$n=[long]$h.Substring(5,10)
if($n -gt 8388608){WsxDie 'transport_header' 81 81}
$y=WsxRead ([int]$n)
$d=[BitConverter]::ToString((New-Object Security.Cryptography.SHA256CryptoServiceProvider).ComputeHash($y)).Replace('-','').ToLowerInvariant()
if($d -cne $h.Substring(16,64)){WsxDie 'transport_corrupt' $y.Length $n}
$p=$a.GetString($y).Split('.');$y=$null
if($p.Length -ne 3){WsxDie 'transport_corrupt' $n $n}
$WsxRequest=[Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($p[1]))
$WsxSecrets=$p[2]
$WsxMain=[ScriptBlock]::Create([Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($p[0])));$p=$null
. $WsxMain
