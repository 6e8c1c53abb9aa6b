package commands_test

import (
	"errors"
	"strings"
	"testing"

	"keyturn/commands"
	"keyturn/pkg/pam"
)

const endedJob = pam.UID("6YHmZbcnH_JAzdsMUi0OgA")

// What is told above the prompt of a job that was waited for.
func TestTheEndOfAJobSaysWhatIsNext(t *testing.T) {
	t.Parallel()
	left := []pam.Item{{Left: &pam.Process{}}}
	for _, c := range []struct {
		name string
		job  pam.Job
		err  error
		want string
	}{
		{"a good end has nothing next", pam.Job{State: pam.JobFinished, Message: "done"}, nil, "job ID finished: done"},
		{
			"restarts that were left are named",
			pam.Job{State: pam.JobFinished, Message: "done", Items: left},
			nil,
			"job ID finished: done\nNext: keyturn pam action restart ID restarts what still runs with the old password",
		},
		{
			"one warning is told, more are counted",
			pam.Job{State: pam.JobFinished, Message: "done", Warnings: []string{"SRV1: x"}},
			nil,
			"job ID finished: done\nwarning: SRV1: x",
		},
		{
			"more warnings are counted",
			pam.Job{State: pam.JobFinished, Message: "done", Warnings: []string{"x", "y"}},
			nil,
			"job ID finished: done\n2 warnings: keyturn pam action job-info ID shows them",
		},
		{
			"a process that died while it looked",
			pam.Job{State: pam.JobRunning, Phase: pam.PhaseLook},
			nil,
			"the process of job ID ended before the job did: the job is open, nothing changed\nNext: keyturn pam action resume ID ends it",
		},
		{
			"a process that died while a job that was taken up looked",
			pam.Job{State: pam.JobRunning, Phase: pam.PhaseLook, Generation: 2, Committed: true},
			nil,
			"the process of job ID ended before the job did: the job is open, the password may have changed already\n" +
				"Next: keyturn pam action resume ID ends it",
		},
		{
			"a job that cannot be read",
			pam.Job{},
			errors.New("job ID goes on and cannot be watched: the disk is full"),
			"job ID goes on and cannot be watched: the disk is full",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.job.ID = endedJob
			if got := strings.ReplaceAll(commands.Ending(c.job, c.err), string(endedJob), "ID"); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
