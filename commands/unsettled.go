package commands

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// aboutJobs are the commands that tell of jobs themselves.
var aboutJobs = []string{"rotate", "resume", "retry", "restart", "job-info", "job-list", "job-cancel"}

// tellOfJobs says of each open or partial job that it waits for somebody: an
// interrupted one must not be forgotten. It is said once in a process.
func (c *call) tellOfJobs(ctx context.Context, cmd *cobra.Command) {
	if c.format != output.FormatTable || c.Session.Quiet || slices.Contains(aboutJobs, cmd.Name()) {
		return
	}
	jobs, err := c.vault.Unsettled(ctx)
	if err != nil {
		return // the command itself meets it, if it matters
	}
	for _, j := range jobs {
		if (j.State != pam.JobOpen && j.State != pam.JobPartial) || slices.Contains(c.Session.told, j.ID) {
			continue
		}
		c.Session.told = append(c.Session.told, j.ID)
		done := 0
		for _, i := range j.Items {
			if i.Status.Done() {
				done++
			}
		}
		c.sayf("keyturn: job %s of %s is %s, %d of %d done: keyturn pam action resume %s",
			j.ID, j.UserTitle, j.State, done, len(j.Items), j.ID)
	}
}
