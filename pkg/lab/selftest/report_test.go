package selftest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
)

func TestVerdicts(t *testing.T) {
	t.Parallel()
	ask := question{id: "2", ask: "Q", op: opServices, fact: "f", want: exactly("0"), says: "0"}
	logs := logQuestions()[0]
	logs.op, logs.fact = opServices, "f"
	open := ask
	open.want = nil
	rows := []struct {
		name    string
		q       question
		run     run
		verdict Verdict
		why     string
	}{
		{"as expected", ask, run{facts: []fact{{id: "f", value: "0"}}}, AsExpected, ""},
		{"an answer that differs", ask, run{facts: []fact{{id: "f", value: "1326"}}}, Differs, ""},
		{"an answer that only begins as expected", ask, run{facts: []fact{{id: "f", value: "00"}}}, Differs, ""},
		{"an open question", open, run{facts: []fact{{id: "f", value: "1326"}}}, Answered, ""},
		{"the latest answer counts", ask, run{facts: []fact{{id: "f", value: "1"}, {id: "f", value: "0"}}}, AsExpected, ""},
		{"an error is no answer", ask, run{facts: []fact{{id: "f", gap: "access_denied"}}}, NotRun, "access_denied"},
		{"an empty answer is none", ask, run{facts: []fact{{id: "f"}}}, NotRun, "the answer was empty"},
		{"an op that failed", ask, run{failed: map[powershell.Op]string{opServices: "cut off"}}, NotRun, "cut off"},
		{"not asked for", ask, run{}, NotRun, "needs --create"},
		{"asked, and no word of it", ask, run{done: map[powershell.Op]bool{opServices: true}}, NotRun, "gave no answer"},
		{"logs without the password", logs, run{facts: []fact{{id: "f", value: "events=7 control=2 hits=0"}}}, AsExpected, ""},
		{"logs with the password", logs, run{facts: []fact{{id: "f", value: "events=7 control=2 hits=1"}}}, Differs, ""},
		{"logs that are empty prove nothing", logs, run{facts: []fact{{id: "f", value: "events=0 control=0 hits=0"}}}, NotRun, "turn on"},
		{"logs without this run prove nothing", logs, run{facts: []fact{{id: "f", value: "events=9 control=0 hits=0"}}}, NotRun, "turn on"},
	}
	for _, r := range rows {
		c := r.run.check(r.q)
		if c.Verdict != r.verdict || !strings.Contains(c.Why, r.why) || (c.Why == "") != (r.verdict != NotRun) {
			t.Errorf("%s: %+v", r.name, c)
		}
	}
}

// What a machine says is text in a table, whatever it tries.
func TestAHostileMachineStaysInItsCell(t *testing.T) {
	t.Parallel()
	rep := Report{
		Machine: "SRV1\n# Fine", Checks: []Check{{Question: "Q", Answer: "a | b ` <script> [x](y)\n| c |"}},
		Facts: []Fact{{ID: "f|g", Gap: "h|i"}}, Leftovers: []string{"cleanup.pool: <b>"},
	}
	var b strings.Builder
	if err := rep.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		cells := strings.Count(line, "|") - strings.Count(line, `\|`)
		if strings.HasPrefix(line, "|") && cells != 7 && cells != 3 || strings.Contains(line, "<") || strings.HasPrefix(line, "# Fine") {
			t.Errorf("%q", line)
		}
	}
	if !strings.Contains(b.String(), "--cleanup") {
		t.Errorf("nothing of the leftovers:\n%s", b.String())
	}
}

// A clean-up that failed leaves something, unless the set-up was refused.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	failed := map[powershell.Op]string{opCleanup: "cut off"}
	for name, r := range map[string]struct {
		run  run
		left int
	}{
		"made, not removed":     {run{failed: failed, done: map[powershell.Op]bool{opSetup: true}}, 1},
		"refused, nothing made": {run{failed: failed, refused: map[powershell.Op]bool{opSetup: true}}, 0},
		"one thing stayed":      {run{facts: []fact{{id: "cleanup.pool", gap: "access_denied"}}}, 1},
		"all removed":           {run{facts: []fact{{id: "cleanup.pool", value: "0"}}}, 0},
	} {
		r.run.o = Options{Now: time.Now, Target: remote.Target{}}
		rep := r.run.report()
		if len(rep.Leftovers) != r.left {
			t.Errorf("%s: %q", name, rep.Leftovers)
		}
		var b strings.Builder
		if err := rep.WriteJSON(&b); err != nil || !json.Valid([]byte(b.String())) {
			t.Errorf("%s: %v, %s", name, err, b.String())
		}
	}
}
