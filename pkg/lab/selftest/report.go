package selftest

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"keyturn/pkg/pam"
)

// A Verdict is how an answer compares with what Keyturn counts on.
type Verdict string

// The verdicts. Answered is a question to which several answers are allowed for.
const (
	AsExpected Verdict = "as expected"
	Differs    Verdict = "differs"
	Answered   Verdict = "answered"
	NotRun     Verdict = "not run"
)

// A Check is one question with its answer.
type Check struct {
	ID       string  `json:"id"` // in the checklist
	Question string  `json:"question"`
	Did      string  `json:"did"` // the op that asked, and under which name it answered
	Answer   string  `json:"answer,omitempty"`
	Expected string  `json:"expected"`
	Verdict  Verdict `json:"verdict"`
	Why      string  `json:"why,omitempty"` // of NotRun
}

// A Fact is one raw answer.
type Fact struct {
	ID    string `json:"id"`
	Value string `json:"value,omitempty"`
	Gap   string `json:"gap,omitempty"` // why there is no value
}

// A Report is what a run found out. It names the machine and who logged in, and
// holds no password.
type Report struct {
	Started    string        `json:"started"` // RFC 3339, UTC
	TookMS     int64         `json:"took_ms"`
	Machine    string        `json:"machine"`
	OS         string        `json:"os"`
	PowerShell string        `json:"powershell"`
	User       string        `json:"user"`
	Transport  pam.Transport `json:"transport"`
	Practice   bool          `json:"practice"` // not Windows: its answers are those of the lab's model
	Created    bool          `json:"created"`  // it was allowed to make throw-away objects
	Checks     []Check       `json:"checks"`
	Facts      []Fact        `json:"facts"`
	Leftovers  []string      `json:"leftovers"` // what could not be removed
}

func (r *run) report() Report {
	rep := Report{
		Started: r.began.UTC().Format("2006-01-02T15:04:05Z"), TookMS: r.o.Now().Sub(r.began).Milliseconds(),
		Machine: r.hello.Host, OS: r.hello.OS, PowerShell: r.hello.PS, User: r.machine.User,
		Transport: r.o.Target.Transport, Created: r.done[opSetup], Leftovers: []string{}, Facts: []Fact{},
	}
	for _, q := range questions() {
		rep.Checks = append(rep.Checks, r.check(q))
	}
	for _, q := range impossibles() {
		rep.Checks = append(rep.Checks, Check{ID: q.id, Question: q.ask, Did: "nothing", Verdict: NotRun, Why: q.why})
	}
	for _, f := range r.facts {
		rep.Facts = append(rep.Facts, Fact{ID: f.id, Value: f.value, Gap: f.gap})
		if f.gap != "" && strings.HasPrefix(f.id, "cleanup.") {
			rep.Leftovers = append(rep.Leftovers, f.id+": "+f.gap)
		}
	}
	if f, ok := r.find("os.windows"); r.practice || ok && f.value == "0" {
		rep.Practice = true
	}
	if why := r.failed[opCleanup]; why != "" && !r.refused[opSetup] {
		rep.Leftovers = append(rep.Leftovers, "cleaning up failed: "+why)
	}
	return rep
}

// check compares the answer to q with what is expected.
func (r *run) check(q question) Check {
	c := Check{ID: q.id, Question: q.ask, Did: strings.TrimSpace(string(q.op) + " " + q.fact), Expected: q.says, Verdict: NotRun}
	f, ok := r.find(q.fact)
	switch {
	case ok && f.gap != "":
		c.Why = f.gap
	case ok && f.value == "":
		c.Why = "the answer was empty"
	case ok && q.unless != nil && q.unless(f.value) != "":
		c.Why = q.unless(f.value)
	case ok:
		c.Answer, c.Verdict = f.value, Answered
		if q.want != nil {
			c.Verdict = Differs
			if q.want.MatchString(f.value) {
				c.Verdict = AsExpected
			}
		}
	default:
		c.Why = r.missing(q)
	}
	return c
}

// missing is why there is no answer to q.
func (r *run) missing(q question) string {
	switch {
	case r.failed[q.op] != "":
		return r.failed[q.op]
	case q.op == "" && q.fact == "ping.ssh":
		return "no way over SSH was given"
	case q.op == opPools && r.iisAbsent():
		return "IIS is not on this machine"
	case q.op == opLockout && r.done[q.op]:
		return "the machine has no lockout threshold between 1 and 20"
	case q.op == "" || r.done[q.op]:
		return "the machine gave no answer"
	case r.o.Create:
		return "the throw-away account could not be made" + r.setup()
	default:
		return "needs --create"
	}
}

func (r *run) iisAbsent() bool {
	f, ok := r.find("pool.iis")
	return ok && f.value == "absent"
}

// setup is what making the account answered.
func (r *run) setup() string {
	if why := r.failed[opSetup]; why != "" {
		return ": " + why
	}
	if f, ok := r.find("setup.account"); ok {
		return " (error " + f.value + "; 2224: one is left from an earlier run, remove it with --cleanup)"
	}
	return ""
}

// Count is how many checks have a verdict.
func (r Report) Count(v Verdict) int {
	n := 0
	for _, c := range r.Checks {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// cell is a text that came from a machine as a cell of a Markdown table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "`", "'", "<", "&lt;", "[", `\[`, "\n", " ", "\r", " ").Replace(s)
}

// WriteMarkdown writes the report for people, to attach to a bug.
func (r Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Keyturn selftest of %s\n\n", cell(r.Machine))
	fmt.Fprintf(&b, "Windows %s, PowerShell %s, over %s as %s, %s, %d ms.\n", cell(r.OS), cell(r.PowerShell), r.Transport, cell(r.User),
		r.Started, r.TookMS)
	if r.Practice {
		b.WriteString("\n**This is a practice machine, not Windows: its answers are those of a model, and prove nothing of Windows.**\n\n")
	}
	switch {
	case len(r.Leftovers) > 0:
		b.WriteString("Throw-away objects (keyturn-selftest-*) are left on it: keyturn-lab selftest --cleanup\n")
	case r.Created:
		b.WriteString("It was allowed to make throw-away objects (keyturn-selftest-*), and has removed them.\n")
	default:
		b.WriteString("Nothing was changed on the machine.\n")
	}
	fmt.Fprintf(&b, "\n%d as expected, %d differ, %d answered, %d not run.\n", r.Count(AsExpected), r.Count(Differs), r.Count(Answered),
		r.Count(NotRun))
	for _, l := range r.Leftovers {
		fmt.Fprintf(&b, "\n**Left on the machine:** %s\n", cell(l))
	}
	b.WriteString("\n| # | Question | Answer | Expected | Verdict | Asked by |\n|---|---|---|---|---|---|\n")
	for _, c := range r.Checks {
		verdict := string(c.Verdict)
		if c.Why != "" {
			verdict += ": " + c.Why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n",
			c.ID, cell(c.Question), cell(c.Answer), cell(c.Expected), cell(verdict), cell(c.Did))
	}
	b.WriteString("\n## Raw answers\n\n| Fact | Value |\n|---|---|\n")
	for _, f := range r.Facts {
		value := f.Value
		if f.Gap != "" {
			value = "not run: " + f.Gap
		}
		fmt.Fprintf(&b, "| %s | %s |\n", cell(f.ID), cell(value))
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
