package linttest

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A Catalog is which commands there are, with their parameters, on each of the
// servers that the scripts must run on.
type Catalog struct {
	Profiles map[string]map[string][]string `json:"profiles"`
}

// ReadCatalog reads a catalog from a file.
func ReadCatalog(path string) (Catalog, error) {
	b, err := os.ReadFile(path) //nolint:gosec // a test's own file
	if err != nil {
		return Catalog{}, fmt.Errorf("read the catalog: %w", err)
	}
	var c Catalog
	if err := json.Unmarshal(b, &c); err != nil {
		return Catalog{}, fmt.Errorf("read the catalog %s: %w", path, err)
	}
	for _, p := range []string{"ws2016-ps5.1", "ws2019-ps5.1"} {
		if len(c.Profiles[p]) == 0 {
			return Catalog{}, fmt.Errorf("the catalog %s lacks %s", path, p)
		}
	}
	return c, nil
}

// bootstrap is the only script that may call a command whose name is computed:
// the main script, without a parameter.
const bootstrap = "bootstrap.ps1"

// Missing says which commands and parameters some server does not have.
func (c Catalog) Missing(facts []Fact) []string {
	var bad []string
	for _, f := range facts {
		switch {
		case f.Ours:
		case f.Dynamic:
			if f.File != bootstrap || len(f.Variables) > 0 {
				bad = append(bad, f.at()+": a command with a computed name")
			}
		default:
			bad = append(bad, c.missing(f)...)
		}
	}
	return bad
}

func (c Catalog) missing(f Fact) []string {
	var bad []string
	for profile, commands := range c.Profiles {
		known, ok := commands[f.Name]
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: %s is not on %s", f.at(), f.Name, profile))
			continue
		}
		for _, p := range f.Parameters {
			if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, p) }) {
				bad = append(bad, fmt.Sprintf("%s: %s -%s is not on %s", f.at(), f.Name, p, profile))
			}
		}
	}
	return bad
}

// getter is the function that yields a secret.
const getter = "Get-WsxSecret"

// Bound says where a secret, or what cannot be seen, is bound to a parameter.
func Bound(facts []Fact) []string {
	var bad []string
	for _, f := range facts {
		for _, v := range f.Variables {
			if strings.EqualFold(strings.TrimPrefix(v, "script:"), "WsxSecrets") {
				bad = append(bad, f.at()+": "+f.Name+" gets the secrets")
			}
		}
		if f.Splat {
			bad = append(bad, f.at()+": "+f.Name+" hides its parameters")
		}
		index := []string{"secret", "old", "new"}
		if f.Name == getter && (len(f.Parameters) > 0 || len(f.Variables) != 1 || !slices.Contains(index, f.Variables[0])) {
			bad = append(bad, f.at()+": "+getter+" takes an index")
		}
	}
	return bad
}

// ProductMethods are the methods of .NET, COM and our own C# that take a secret
// as an argument and give none back: what they return is not tainted.
func ProductMethods() []string {
	return []string{"Logon", "Change", "Reset", "SetPropertyValue", "RegisterTask", "Equals", "SetAttributeValue", "set_Password"}
}

var (
	secretCall = regexp.MustCompile(`\[string\]\(Get-WsxSecret \$\w+\)`)
	assignment = regexp.MustCompile(`\.Password = $`)
	nested     = regexp.MustCompile(`\(\s*(?:&\s*)?[A-Za-z]+-[A-Za-z]|\$\(`)
	readBack   = regexp.MustCompile(`(?i)\.(?:Start)?Password\b|get_Password|` +
		`AttributeValue\('password'\)|PropertyValue\('StartPassword'\)`)
	writes      = regexp.MustCompile(`(?i)^(?:\.Password = \[string\]\(Get-WsxSecret )`)
	methodStart = regexp.MustCompile(`(?:\.|::)(\w+)\([^;{}|]*$`)
	methodName  = regexp.MustCompile(`(?:\.|::)(\w+)$`)
)

// Leaks are the lines where a secret is neither the argument of one of methods
// nor the value of a .NET property, and those where a stored password is read
// other than to compare it.
func Leaks(script string, methods []string) []string {
	var bad []string
	for line := range strings.Lines(script) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") || strings.HasPrefix(line, "function "+getter+"(") {
			continue
		}
		if strings.Contains(line, "WsxSecrets") && !strings.Contains(line, "FromBase64String($WsxSecrets.Split(',')[$index])") {
			bad = append(bad, line)
			continue
		}
		found := secretCall.FindAllStringIndex(line, -1)
		wrong := len(found) != strings.Count(line, getter)
		for _, at := range found {
			wrong = wrong || !safe(line[:at[0]], methods)
		}
		for _, at := range readBack.FindAllStringIndex(line, -1) {
			wrong = wrong || !writes.MatchString(line[at[0]:]) && !strings.Contains(line[:at[0]], "[string]::Equals(")
		}
		if wrong {
			bad = append(bad, line)
		}
	}
	return bad
}

// safe reports whether what stands before a secret makes it the argument of one
// of methods, or the value of a property.
func safe(before string, methods []string) bool {
	before = secretCall.ReplaceAllString(before, "$secret")
	if assignment.MatchString(before) {
		return true
	}
	at := methodStart.FindStringSubmatchIndex(before)
	if at == nil || nested.MatchString(before[at[3]+1:]) {
		return false
	}
	// The innermost open bracket decides: walk back from the secret.
	depth := 0
	for i := len(before) - 1; i >= 0; i-- {
		switch before[i] {
		case ')':
			depth++
		case '(':
			if depth == 0 {
				name := methodName.FindStringSubmatch(before[:i])
				return name != nil && slices.Contains(methods, name[1])
			}
			depth--
		}
	}
	return false
}

// forbidden are the commands that put a secret, or data, where it must not be,
// or that wait without an end; spec'd with the contract.
var forbidden = regexp.MustCompile(`(?i)Restart-Service|Stop-Service|Set-Service\b|New-Service|Set-ScheduledTask|Register-ScheduledTask|` +
	`ConvertTo-SecureString|ConvertTo-Json|appcmd|sc\.exe|\bsc (?:config|create)\b|schtasks|\bnet1?(?:\.exe)? user\b|\bwmic\b|` +
	`Set-LocalUser|New-LocalUser|Set-ItemProperty|New-ItemProperty|Invoke-Expression|\biex\b|\$input\b|Get-Random|Start-Process|` +
	`Invoke-Command|-EncodedCommand|\$env:|Start-Transcript|Out-String|Write-(?:Host|Verbose|Debug|Information|Output)\b|` +
	`InvokeScript|NewScriptBlock|ExpandString|\[PowerShell\]::|Invoke-WmiMethod|Invoke-CimMethod`)

// language is what a script does without although Windows PowerShell 5 has it.
var language = regexp.MustCompile(`(?i)^\s*(?:class|enum|using)\s`)

// Forbidden says where a script uses what must not be in it. Only the bootstrap
// may make code of text.
func Forbidden(name, text string) []string {
	var bad []string
	n, csharp := 0, false
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		switch {
		case forbidden.MatchString(line),
			!csharp && language.MatchString(line),
			name != bootstrap && strings.Contains(strings.ToLower(line), "[scriptblock]"):
			bad = append(bad, fmt.Sprintf("%s:%d: %s", name, n, strings.TrimSpace(line)))
		}
		if strings.HasSuffix(strings.TrimSpace(line), "@'") {
			csharp = true
		} else if strings.HasPrefix(line, "'@") {
			csharp = false
		}
	}
	return bad
}
