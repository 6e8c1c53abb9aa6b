package powershell_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"keyturn/pkg/powershell"
	"keyturn/pkg/powershell/linttest"
)

const lintFile = "testdata/lint.json"

func shippedScripts(t *testing.T) map[string][]byte {
	t.Helper()
	bootstrap, err := os.ReadFile("scripts/bootstrap.ps1")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"bootstrap.ps1": bootstrap, "main.ps1": powershell.Script()}
}

func recorded(t *testing.T) linttest.Record {
	t.Helper()
	r, err := linttest.ReadRecord(lintFile)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestScriptsAreLinted(t *testing.T) {
	linttest.Check(t, shippedScripts(t), nil, lintFile)
}

func TestCommandsExistOnEveryServer(t *testing.T) {
	t.Parallel()
	c, err := linttest.ReadCatalog("testdata/ps-catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range c.Missing(recorded(t).Commands) {
		t.Error(bad)
	}
}

// Whatever is bound to a parameter may be logged by Windows (event 4103,
// transcripts): no secret is.
func TestNoSecretIsBoundToAParameter(t *testing.T) {
	t.Parallel()
	for _, bad := range linttest.Bound(recorded(t).Commands) {
		t.Error(bad)
	}
	if bad := linttest.Leaks(string(powershell.Script()), linttest.ProductMethods()); len(bad) > 0 {
		t.Errorf("secrets outside a method call: %q", bad)
	}
}

func TestForbiddenWords(t *testing.T) {
	t.Parallel()
	for name, text := range shippedScripts(t) {
		for _, bad := range linttest.Forbidden(name, string(text)) {
			t.Error(bad)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if len(line) > 190 {
				t.Errorf("%s:%d: %d characters", name, n, len(line))
			}
		}
	}
}

// planted puts a line into the shipped script, at its end.
func planted(line string) string { return string(powershell.Script()) + line + "\n" }

// Each row is a mistake that somebody could make in the shipped script, and the
// gate that must see it in the midst of everything that is right.
func TestPlantedTextIsFound(t *testing.T) {
	t.Parallel()
	leak := func(s string) []string { return linttest.Leaks(s, linttest.ProductMethods()) }
	words := func(s string) []string { return linttest.Forbidden("main.ps1", s) }
	rows := []struct {
		name string
		gate func(string) []string
		line string
	}{
		{"a secret in a variable", leak, `$x = Get-WsxSecret $i`},
		{"a secret in a variable by way of a cast", leak, `$x = [string](Get-WsxSecret $i)`},
		{"a secret bound to a cmdlet", leak, `Set-Thing ([string](Get-WsxSecret $i))`},
		{"a secret in a pipeline", leak, `[string](Get-WsxSecret $i) | Set-Thing`},
		{"a cmdlet after a method call", leak, `$o.Change($a); Set-Thing [string](Get-WsxSecret $i)`},
		{"a cmdlet inside a method's argument", leak, `[void]$o.Change((Set-Thing [string](Get-WsxSecret $i)))`},
		{"a function inside a method's argument", leak, `[void]$o.Change((& $f ([string](Get-WsxSecret $i))))`},
		{"a method that gives the secret back taints what it returns", leak, `$x = [string]::Concat([string](Get-WsxSecret $i), '')`},
		{"a secret in a string", leak, `$x = "$(Get-WsxSecret $i)"`},
		{"all secrets at once", leak, `Set-Thing $WsxSecrets`},
		{"all secrets in a variable", leak, `$x = $script:WsxSecrets`},
		{"a pool's password read back into a variable", leak, `$x = $pool.ProcessModel.Password`},
		{"a pool's password read back by its getter", leak, `Write-WsxLine 'x' @{ p = $pool.ProcessModel.get_Password() }`},
		{"what was given to WMI read back", leak, `$x = $in.GetPropertyValue('StartPassword')`},
		{"a password on a command line, sc", words, `& sc.exe config $n password= $p`},
		{"a password on a command line, sc without its ending", words, `sc config $n password= $p`},
		{"a password on a command line, schtasks", words, `schtasks /change /tn $n /rp $p`},
		{"a password on a command line, appcmd", words, `& "$dir\appcmd" set apppool $n`},
		{"a password on a command line, net", words, `net user $n $p`},
		{"a restart that waits for ever", words, `Restart-Service $n`},
		{"a stop that waits for ever", words, `  stop-service -Name $n`},
		{"a credential for a service", words, `Set-Service $n -Credential $c`},
		{"a password of a task as a parameter", words, `Set-ScheduledTask $n -User $u -Password $p`},
		{"a new task with a password as a parameter", words, `Register-ScheduledTask $n -Password $p`},
		{"a secure string, whose plain text is logged", words, `$s = ConvertTo-SecureString $p -AsPlainText -Force`},
		{"a local user's password", words, `Set-LocalUser $n -Password $s`},
		{"a registry value", words, `Set-ItemProperty $k -Name x -Value $p`},
		{"code from text", words, `Invoke-Expression $t`},
		{"code from text by its alias", words, `$t | iex`},
		{"code from text by its type", words, `$b = [scriptblock]::Create($t)`},
		{"text with expressions in it", words, `$ExecutionContext.InvokeCommand.ExpandString($t)`},
		{"the host would read standard input", words, `$x = @($input)`},
		{"an object with a password as JSON", words, `$pool | ConvertTo-Json`},
		{"output that a transcript keeps", words, `Write-Host $x`},
		{"a transcript of our own", words, `Start-Transcript $p`},
		{"a new process, with its command line", words, `Start-Process $exe $arguments`},
		{"WMI with bound arguments", words, `Invoke-CimMethod -InputObject $s -MethodName Change -Arguments $h`},
		{"the environment", words, `$x = $env:TEMP`},
		{"a class", words, `class Wsx { }`},
		{"a namespace", words, `using namespace System.IO`},
	}
	for _, r := range rows {
		if bad := r.gate(planted(r.line)); len(bad) != 1 {
			t.Errorf("%s: %d findings in %q: %q", r.name, len(bad), r.line, bad)
		}
	}
	for _, fine := range []string{
		`[void]$f.RegisterTask($a, $b.Name, 4, $u, [string](Get-WsxSecret $i), 1, $null)`,
		`return [WsxNative]::Change($a, [string](Get-WsxSecret $old), [string](Get-WsxSecret $new))`,
		`# Restart-Service is forbidden`,
	} {
		if bad := append(leak(planted(fine)), words(planted(fine))...); len(bad) > 0 {
			t.Errorf("%q is fine: %q", fine, bad)
		}
	}
}

// The same of what the engine's parser reports.
func TestPlantedFactsAreFound(t *testing.T) {
	t.Parallel()
	c, err := linttest.ReadCatalog("testdata/ps-catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name string
		gate func([]linttest.Fact) []string
		fact linttest.Fact
	}{
		{"a command that no server has", c.Missing, linttest.Fact{Name: "Get-Thing"}},
		{"an alias", c.Missing, linttest.Fact{Name: "spsv"}},
		{"a parameter that came with PowerShell 6", c.Missing, linttest.Fact{Name: "ConvertFrom-Json", Parameters: []string{"AsHashtable"}}},
		{"a computed command in the main script", c.Missing, linttest.Fact{File: "main.ps1", Dynamic: true}},
		{"a computed command with an argument", c.Missing, linttest.Fact{File: "bootstrap.ps1", Dynamic: true, Variables: []string{"x"}}},
		{"all secrets bound", linttest.Bound, linttest.Fact{Name: "New-Object", Variables: []string{"script:wsxsecrets"}}},
		{"hidden parameters", linttest.Bound, linttest.Fact{Name: "New-Object", Splat: true}},
		{"a secret by something else than its index", linttest.Bound, linttest.Fact{Name: "Get-WsxSecret", Variables: []string{"text"}}},
		{"a secret by a named parameter", linttest.Bound, linttest.Fact{Name: "Get-WsxSecret", Parameters: []string{"index"}, Variables: []string{"new"}}},
	}
	all := recorded(t).Commands
	for _, r := range rows {
		if bad := r.gate(append(slices.Clone(all), r.fact)); len(bad) == 0 {
			t.Errorf("%s: not found", r.name)
		}
	}
}

// A script that changed and was not linted again fails without an engine too.
func TestAChangedScriptIsStale(t *testing.T) {
	t.Parallel()
	r := recorded(t)
	if bad := r.Stale(shippedScripts(t)); len(bad) > 0 {
		t.Fatal(bad)
	}
	changed := shippedScripts(t)
	changed["main.ps1"] = append(changed["main.ps1"], '\n')
	more := shippedScripts(t)
	more["extra.ps1"] = []byte("1\n")
	fewer := shippedScripts(t)
	delete(fewer, "bootstrap.ps1")
	for name, scripts := range map[string]map[string][]byte{"changed": changed, "more": more, "fewer": fewer} {
		if bad := r.Stale(scripts); len(bad) != 1 {
			t.Errorf("%s: %q", name, bad)
		}
	}
}

// The engine's own lint sees what was planted; without an engine nobody can.
func TestTheEngineFindsPlantedErrors(t *testing.T) {
	t.Parallel()
	engine := os.Getenv(linttest.EnvEngine)
	if engine == "" {
		t.Skip(linttest.EnvEngine + " names no engine that lints")
	}
	rows := map[string]string{
		"a bracket left open":                     "if ($true) {\n",
		"a choice, which came with PowerShell 7":  "$x = $true ? 1 : 2\n",
		"a chain, which came with PowerShell 7":   "New-Object Object && New-Object Object\n",
		"a letter outside ASCII":                  "$x = '\u0151'\n",
		"a method that .NET Framework lacks":      "$x = [IO.File]::ReadAllTextAsync('x')\n",
		"a method with too many arguments":        "$x = [string]::IsNullOrEmpty('x', 'y')\n",
		"a type that .NET Framework lacks":        "$x = New-Object Text.Json.JsonDocument\n",
		"a member that came with .NET Core":       "$x = [Environment]::ProcessId\n",
		"C# 6 in Add-Type":                        "Add-Type -TypeDefinition @'\npublic class A { public int B => 1; }\n'@\n",
		"C# in Add-Type that does not compile":    "Add-Type -TypeDefinition @'\npublic class A { int B() { return x; } }\n'@\n",
		"the automatic variables of PowerShell 6": "$x = $IsWindows\n",
	}
	for name, line := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := append(powershell.Script(), line...)
			_, problems, err := linttest.Run(t.Context(), engine, t.TempDir(), map[string][]byte{"main.ps1": text}, nil)
			if err != nil || len(problems) == 0 {
				t.Errorf("not found in %q (%v)", line, err)
			}
		})
	}
	r, problems, err := linttest.Run(t.Context(), engine, t.TempDir(), map[string][]byte{
		"main.ps1": append(powershell.Script(), "Set-Service -Name x -Credential $WsxSecrets\n"...),
	}, nil)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %q", err, problems)
	}
	c, err := linttest.ReadCatalog("testdata/ps-catalog.json")
	if err != nil {
		t.Fatal(err)
	}
	if missing, bound := c.Missing(r.Commands), linttest.Bound(r.Commands); len(missing) != 2 || len(bound) != 1 {
		t.Errorf("of Set-Service -Credential: %q, %q", missing, bound)
	}
}

func TestCommandLineIsConstant(t *testing.T) {
	t.Parallel()
	line := powershell.CommandLine()
	if !regexp.MustCompile(`^[A-Za-z0-9+/= .-]+$`).MatchString(line) || len(line) >= 8191 {
		t.Errorf("%d characters: %s", len(line), line)
	}
	const golden = "testdata/commandline.sha256"
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(golden, []byte(powershell.CommandLineSHA256()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || strings.TrimSpace(string(want)) != powershell.CommandLineSHA256() {
		t.Errorf("the command line that sites have allowed changed: %s, was %s (%v)", powershell.CommandLineSHA256(), want, err)
	}
	for _, f := range []string{"core", "native", "identity", "services", "tasks", "iis", "restart", "main"} {
		if b, err := os.ReadFile("scripts/" + f + ".ps1"); err != nil || bytes.Count(b, []byte("\n")) > 500 {
			t.Errorf("%s: %v", f, err)
		}
	}
}
