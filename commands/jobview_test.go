package commands

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// A list of jobs fits into a terminal whatever the records are called, and names them
// whole; what is left is told below, and programs get every field.
func TestAListOfJobsFitsIntoATerminal(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 30, 23, 40, 1, 0, time.UTC)
	title := strings.TrimSpace(strings.Repeat("a very long title ", 5))
	v := jobListView([]pam.Job{
		{ID: "AAAAAAAAAAAAAAAAAAAAAA", State: pam.JobCancelled, UserTitle: title, AccountName: `CORP\` + title, Started: began, Finished: began.Add(11*time.Hour + time.Microsecond)},
		{ID: "BBBBBBBBBBBBBBBBBBBBBB", State: pam.JobPartial, UserTitle: "svc_app", Started: began, Message: strings.Repeat("long ", 40)},
		{ID: "CCCCCCCCCCCCCCCCCCCCCC", State: pam.JobQueued, UserTitle: "svc_app"},
	}, began.Add(time.Hour))
	show := func(f output.Format) string {
		var b bytes.Buffer
		if err := output.Render(&b, f, v, 80); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	table, below, _ := strings.Cut(show(output.FormatTable), "\n\n")
	for line := range strings.Lines(table) {
		if n := len(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"Duration\n    User\n----",
		"AAAAAAAAAAAAAAAAAAAAAA  cancelled  2026-11-30 23:40  11:00:00\n    a very long title a very long title a very long title a very long title a\n    very long title\n",
		"CCCCCCCCCCCCCCCCCCCCCC  queued",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	if !strings.HasPrefix(below, "BBBBBBBBBBBBBBBBBBBBBB: long long") {
		t.Errorf("below: %q", below)
	}
	for _, f := range []output.Format{output.FormatCSV, output.FormatJSON} {
		if text := show(f); strings.Count(text, title) != 2 {
			t.Errorf("%s lacks the title or the account: %s", f, text)
		}
	}
}

// What a rotation would do, and did, is read on every usual terminal, each dependency
// with its name in one piece.
func TestJobsAndPlansFitIntoATerminal(t *testing.T) {
	t.Parallel()
	items := []pam.Item{
		{MachineTitle: "SRV1", Kind: pam.KindVdir, Name: `Orders/files`, Action: pam.ActionUpdate, Phase: pam.PhaseUpdate, Status: pam.StatusOK},
		{
			MachineTitle: "SRV1", Kind: pam.KindTask, Name: `\Orders\Nightly export`, Action: pam.ActionUpdateRestart, Phase: pam.PhaseRestart,
			Status: pam.StatusFailed, Error: &pam.ItemError{Class: "service_logon_failed", Message: strings.Repeat("it did not start ", 9)},
		},
	}
	views := map[string]output.View{
		"job":  jobView(pam.Job{ID: "AAAAAAAAAAAAAAAAAAAAAA", State: pam.JobPartial, Items: items}, time.Time{}),
		"plan": planView(planDocument{}, pam.Plan{Items: items}, ""),
	}
	for name, v := range views {
		for _, screen := range []int{72, 80, 100, 120} {
			var b bytes.Buffer
			if err := output.Render(&b, output.FormatTable, output.View{Tables: v.Tables}, screen); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if len(strings.TrimRight(line, "\n")) > screen {
					t.Errorf("a %s in %d columns: %d are taken by %s", name, screen, len(line)-1, line)
				}
			}
			if screen >= 80 && !strings.Contains(b.String(), `\Orders\Nightly export  `) {
				t.Errorf("a %s in %d columns is no table:\n%s", name, screen, b.String())
			}
		}
	}
}

// Whoever reads results and messages on one screen is told once why a job failed.
func TestAFailureIsToldOnceOnOneScreen(t *testing.T) {
	t.Parallel()
	j := pam.Job{ID: "AAAAAAAAAAAAAAAAAAAAAA", State: pam.JobPartial, Failure: pam.ErrPartial, Message: "this is left", Hint: "resume it"}
	for oneScreen, want := range map[bool]int{true: 0, false: 1} {
		c := &call{Deps: &Deps{Now: time.Now}, oneScreen: oneScreen}
		v, err := c.endOf(j)
		block := strings.Join(v.Before, "\n")
		if strings.Count(block, j.Message) != want || strings.Count(block, j.Hint) != want {
			t.Errorf("on one screen %t: %s", oneScreen, block)
		}
		if err == nil || err.Error() != j.Message || pam.HintOf(err) != j.Hint {
			t.Errorf("the error must say it: %v", err)
		}
		if !strings.Contains(block, "Status              : partial") {
			t.Errorf("the block lost more than that: %s", block)
		}
	}
}
