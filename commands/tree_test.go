package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"keyturn/pkg/discover"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

// bare are dependencies without a vault, for what needs none.
func bare(t *testing.T) (d *Deps, out, stderr *bytes.Buffer) {
	t.Helper()
	out, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &Deps{
		In: strings.NewReader(""), Out: out, Err: stderr,
		InIsTerminal: func() bool { return false }, OutIsTerminal: func() bool { return false },
		Now: func() time.Time { return time.Unix(0, 0) }, Random: strings.NewReader(""),
		Getenv:  func(string) string { return "" },
		DataDir: func() (string, error) { return t.TempDir(), nil },
		Version: "1.2.3",
		StartJob: func(context.Context, pam.Job) (WaitJob, error) {
			return nil, pam.Errorf(pam.ErrInternal, "no jobs in this test")
		},
		DryRun: func(context.Context, pam.UID, pam.JobOptions) (pam.Plan, error) {
			return pam.Plan{}, pam.Errorf(pam.ErrInternal, "no plans in this test")
		},
		Discover: func(context.Context, pam.Discovery, []pam.UID, func(pam.Finding)) (pam.Discovery, error) {
			return pam.Discovery{}, pam.Errorf(pam.ErrInternal, "no discoveries in this test")
		},
		Examine: func(context.Context, []pam.UID, func(discover.Health)) ([]discover.Health, error) {
			return nil, pam.Errorf(pam.ErrInternal, "no machines in this test")
		},
		Vault: func(context.Context) (*vault.Vault, error) {
			return nil, pam.Errorf(pam.ErrLocked, "the vault is locked")
		},
		Session: &Session{},
	}, out, stderr
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	t.Parallel()
	d, _, _ := bare(t)
	walk(NewRoot(d), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if cmd.Short == "" {
			t.Errorf("%s has no short help", path)
		}
		if !cmd.HasSubCommands() && (cmd.Long == "" || cmd.Example == "") {
			t.Errorf("%s lacks long help or an example", path)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", path, f.Name)
			}
			if f.NoOptDefVal == "" && strings.Count(f.Usage, "`") != 2 {
				t.Errorf("%s --%s has no `placeholder` in its help", path, f.Name)
			}
		})
		for name := range strings.FieldsSeq(cmd.Annotations[annotRequired]) {
			if cmd.Flags().Lookup(name) == nil {
				t.Errorf("%s requires --%s, which it does not have", path, name)
			}
		}
		for short, long := range shortFlags(cmd) {
			if cmd.Flags().Lookup(long) == nil {
				t.Errorf("%s: %s stands for --%s, which it does not have", path, short, long)
			}
		}
	})
}

// A line gets the command it names alone, so what names it must be known before it
// is made.
func TestTopCommandsAreListedByTheirNames(t *testing.T) {
	t.Parallel()
	d, _, _ := bare(t)
	for _, b := range topCommands() {
		cmd := b.grow(d)
		if names := strings.Join(append([]string{cmd.Name()}, cmd.Aliases...), " "); names != b.names {
			t.Errorf("%q lists the command %q", b.names, names)
		}
	}
	for _, c := range []struct {
		what, line string
		commands   int // beside help
	}{
		{"a name", "get SRV1", 1},
		{"an alias in capitals", "G SRV1", 1},
		{"behind global flags", "--vault v --password-file=- pam action", 1},
		{"no command", "nope", len(topCommands())},
		{"help", "help get", len(topCommands())},
		{"a flag of the root", "--help", len(topCommands())},
		{"completion", "__complete get ", len(topCommands())},
		{"nothing", "", len(topCommands())},
	} {
		if n := len(newRoot(d, strings.Fields(c.line)).Commands()) - 1; n != c.commands {
			t.Errorf("%s: the tree has %d commands, want %d", c.what, n, c.commands)
		}
	}
}

func TestEveryLeafHasAFormat(t *testing.T) {
	t.Parallel()
	d, _, _ := bare(t)
	walk(NewRoot(d), func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() && (cmd.Flags().Lookup("format") == nil || cmd.Flags().Lookup("output") == nil) {
			t.Errorf("%s has no --format or --output", cmd.CommandPath())
		}
	})
}

func TestTheExitCodesAreTheCodesOfTheKinds(t *testing.T) {
	t.Parallel()
	var seen []int
	for _, c := range ExitCodes() {
		seen = append(seen, c.Code)
		for _, k := range c.Kinds {
			if k.Code() != c.Code {
				t.Errorf("%s is listed under %d and exits with %d", k, c.Code, k.Code())
			}
		}
	}
	if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 130}; !slices.Equal(seen, want) {
		t.Errorf("the codes are %v, want %v: they are a promise", seen, want)
	}
}

func TestTwoLetterFlagsBecomeLongOnes(t *testing.T) {
	t.Parallel()
	d, _, _ := bare(t)
	for _, c := range []struct{ name, in, want string }{
		{"whole words", "pam rotation edit -r u -rs DC01 -od", "pam rotation edit -r u --resource DC01 --on-demand"},
		{"with a value", "pam rotation edit -rs=DC01", "pam rotation edit --resource=DC01"},
		{"another command's are left alone", "ls -rs", "ls -rs"},
		{"values of flags are left alone", "record-add -t -rt -rt login", "record-add -t -rt --record-type login"},
		{"what follows -- is left alone", "record-add -rt login -- -rt", "record-add --record-type login -- -rt"},
		{"a word that only begins like one", "pam rotation edit -rsx", "pam rotation edit -rsx"},
		{"after global flags", "--vault v --password-file=- record-add -rt login", "--vault v --password-file=- record-add --record-type login"},
		{"aliases and capitals", "PAM R New -rs x", "pam rotation edit --resource x"},
		{"in completion, but for the last word", "__complete record-add -rt login -rt", "__complete record-add --record-type login -rt"},
		{"standard input", "- --keep-going", "run-batch - --keep-going"},
	} {
		got, err := prepare(NewRoot(d), strings.Fields(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

func TestAFreshTreeForgetsFlags(t *testing.T) {
	t.Parallel()
	d, _, _ := bare(t)
	for range 2 {
		err := Execute(t.Context(), d, []string{"pam", "action", "rotate", "-r", "u"})
		if !errors.Is(err, pam.ErrLocked) {
			t.Fatalf("rotate -r u: %v", err)
		}
	}
	d.Vault = func(context.Context) (*vault.Vault, error) { return nil, nil }
	if err := Execute(t.Context(), d, []string{"pam", "action", "rotate"}); pam.KindOf(err) != pam.ErrUsage {
		t.Errorf("rotate without -r: %v", err)
	}
}

func TestFailuresAreReportedForPeopleAndScripts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"for people", "ls", 4, "keyturn: the vault is locked\n"},
		{"for scripts", "ls --format json", 4, `"kind": "locked"`},
		{"for scripts, in one word", "ls --format=JSON", 4, `"code": 4`},
		{"a line that cannot be parsed", "ls --nosuch --format json", 2, `"kind": "usage"`},
		{"an unknown word", "lss", 2, "hint: did you mean \"ls\"?\n"},
		{"too many words", "whoami now", 2, "unrecognized arguments: now"},
	} {
		d, _, stderr := bare(t)
		if code := Run(t.Context(), d, strings.Fields(c.args)); code != c.code {
			t.Errorf("%s: exit code %d, want %d", c.name, code, c.code)
		}
		if !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: %q lacks %q", c.name, stderr, c.want)
		}
	}
}

func TestAMessageCannotMoveTheCursor(t *testing.T) {
	t.Parallel()
	d, _, stderr := bare(t)
	d.Report(pam.Errorf(pam.ErrIO, "remote said \x1b[2J\nfake: line\u202e"), nil)
	if strings.ContainsAny(stderr.String(), "\x1b\u202e") {
		t.Errorf("raw bytes reach the terminal: %q", stderr)
	}
}

func TestDurationsLookLikeTheReferencePage(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		61*time.Second + 923147*time.Microsecond: "0:01:01.923147",
		0:                                        "0:00:00.000000",
		26*time.Hour + 5*time.Minute:             "26:05:00.000000",
	} {
		if got := clock(d); got != want {
			t.Errorf("clock(%s) = %s, want %s", d, got, want)
		}
	}
}

func TestTheJobBlockIsTheReferencePages(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := jobBlock(pam.Job{
		ID: "dXjf690oGKggAAAAAAAAAA", State: pam.JobFinished, Started: start,
		Finished: start.Add(61*time.Second + 923147*time.Microsecond),
		Message:  "Rotation completed for record uid XXX with post-execution",
	}, start)
	want := `Job id to check [dXjf690oGKggAAAAAAAAAA]

Execution Details
-------------------------
Status              : finished
Duration            : 0:01:01.923147
Response Message    : Rotation completed for record uid XXX with post-execution`
	if d := cmp.Diff(want, strings.Join(got, "\n")); d != "" {
		t.Error(d)
	}
}

func TestHowAJobEndedDecidesTheExitCode(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		job  pam.Job
		code int
	}{
		{"finished", pam.Job{State: pam.JobFinished}, 0},
		{"failed at look", pam.Job{State: pam.JobFailed, Failure: pam.ErrUnreachable}, 5},
		{"failed without a kind", pam.Job{State: pam.JobFailed}, 1},
		{"cancelled", pam.Job{State: pam.JobCancelled, Failure: pam.ErrInterrupted}, 130},
		{"partial", pam.Job{State: pam.JobPartial, Failure: pam.ErrPartial}, 6},
		{"in doubt", pam.Job{State: pam.JobOpen, Phase: pam.PhaseChange, Failure: pam.ErrUnknownOutcome}, 6},
		{"its process died at look", pam.Job{State: pam.JobRunning, Phase: pam.PhaseLook}, 1},
		{"its process died after the change", pam.Job{State: pam.JobRunning, Phase: pam.PhaseUpdate}, 6},
	} {
		err := ended(c.job)
		code := 0
		if err != nil {
			code = pam.KindOf(err).Code()
		}
		if code != c.code {
			t.Errorf("%s: %d, want %d (%v)", c.name, code, c.code, err)
		}
	}
}

func TestPatternsMatchLikeFnmatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"SRV*", "srv1", true},
		{"SRV?", "SRV12", false},
		{"*", "a/b", true},
		{"[!a]x", "bx", true},
		{"[!a]x", "ax", false},
		{"a[", "a[", true},
		{"é*", "Été", true},
		{"a.b", "axb", false},
		{`[\d]`, "5", false},
	} {
		re, err := glob(c.pattern)
		if err != nil || re.MatchString(c.text) != c.want {
			t.Errorf("%q on %q: want %t (%v)", c.pattern, c.text, c.want, err)
		}
	}
}

func TestAResultInAFileIsWholeAndPrivate(t *testing.T) {
	t.Parallel()
	d, out, stderr := bare(t)
	dir := t.TempDir()
	name := filepath.Join(dir, "result.json")
	if err := os.WriteFile(name, []byte("older and much longer than what comes"), 0o644); err != nil {
		t.Fatal(err)
	}
	line := []string{"help", "basics", "--format", "json", "--output", name}
	if code := Run(t.Context(), d, line); code != pam.ErrConflict.Code() || !strings.Contains(stderr.String(), "--force replaces it") {
		t.Fatalf("a file that is there: exit code %d: %s", code, stderr)
	}
	if code := Run(t.Context(), d, append(line, "--force")); code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %s", info.Mode())
	}
	var doc map[string]string
	text, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(text, &doc) != nil || out.Len() != 0 {
		t.Errorf("the file holds %q, standard output %q (%v)", text, out, err)
	}
	if code := Run(t.Context(), d, []string{"version", "--output", filepath.Join(dir, "nosuch", "f")}); code != 1 {
		t.Errorf("a missing folder: exit code %d", code)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("%v is left in the folder (%v)", files, err)
	}
}

func TestAnErrorAfterAnInterruptDoesNotClaimThatNothingChanged(t *testing.T) {
	t.Parallel()
	partial := pam.Errorf(pam.ErrPartial, "the password was changed: %w", context.Canceled)
	if got := message(partial); got != partial.Error() {
		t.Errorf("message = %q", got)
	}
	if got := message(context.Canceled); got != "interrupted; nothing changed" {
		t.Errorf("message = %q", got)
	}
}

func TestHostsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	names := fieldTypes()["pamHostname"]
	for _, c := range []struct{ value, host, port string }{
		{"srv1.lab.example", "srv1.lab.example", ""},
		{"srv1:5986", "srv1", "5986"},
		{"10.0.0.1:22", "10.0.0.1", "22"},
		{"[2001:db8::1]:5986", "2001:db8::1", "5986"},
		{"[2001:db8::1]", "2001:db8::1", ""},
		{"2001:db8::1", "2001:db8::1", ""},
		{"[fe80::1%eth0]:22", "fe80::1%eth0", "22"},
		{"hostName=h,port=22", "h", "22"},
		{"port=22 HOSTNAME=h", "h", "22"},
		{`$JSON:{"hostName":"h","port":"5986"}`, "h", "5986"},
		{`$JSON:{"hostName":"h","port":5986}`, "h", "5986"},
	} {
		parts, err := partsValue("pamHostname", names, Assignment{Type: "pamHostname", Value: c.value})
		if err != nil || parts["hostName"] != c.host || parts["port"] != c.port {
			t.Errorf("%s: %v, %v", c.value, parts, err)
		}
	}
	for _, value := range []string{
		"h:0", "h:65536", "h:port", "h:1:2", "a b", "https://h/", "user@h", "color=red", "$JSON:[]", `$JSON:{"port":true}`, `$JSON:{} {}`,
	} {
		if parts, err := partsValue("pamHostname", names, Assignment{Type: "pamHostname", Value: value}); !errors.Is(err, pam.ErrUsage) {
			t.Errorf("%s: %v, %v", value, parts, err)
		}
	}
}

func FuzzParts(f *testing.F) {
	for _, v := range []string{"h:1", "[::1]:22", "hostName=h", `$JSON:{"hostName":"h"}`, "a=b=c", ",", "$JSON:"} {
		f.Add(v)
	}
	names := fieldTypes()["pamHostname"]
	f.Fuzz(func(t *testing.T, v string) {
		parts, err := partsValue("pamHostname", names, Assignment{Type: "pamHostname", Value: v})
		if err != nil && !errors.Is(err, pam.ErrUsage) {
			t.Fatalf("%q: %v", v, err)
		}
		if err == nil && strings.ContainsAny(parts["hostName"], " []@/") {
			t.Fatalf("%q became the host %q", v, parts["hostName"])
		}
	})
}
