package shell

import (
	"context"
	"fmt"
	"slices"

	"keyturn/commands"
	"keyturn/pkg/pam"
)

// announced wraps the way jobs are started: each one's end is told above the
// prompt, whoever else waits for it.
func (s *shell) announced(start commands.StartJob) commands.StartJob {
	if start == nil {
		return nil
	}
	return func(ctx context.Context, j pam.Job) (commands.WaitJob, error) {
		wait, err := start(context.WithoutCancel(ctx), j)
		if err != nil {
			return nil, err
		}
		s.begun(j)
		ended := make(chan struct{})
		var last pam.Job
		var failure error
		go func() {
			last, failure = wait(context.WithoutCancel(ctx), func(pam.Job) {})
			close(ended)
			s.over(j.ID)
			if failure != nil && s.locked.Load() {
				s.tell(unwatched(j.ID))
				return
			}
			s.tell(commands.Ending(last, failure))
		}()
		return func(ctx context.Context, _ func(pam.Job)) (pam.Job, error) {
			select {
			case <-ended:
				return last, failure
			case <-ctx.Done():
				return j, ctx.Err()
			}
		}, nil
	}
}

// unwatched is told of a job that cannot be read any more, because the vault was
// locked while it ran.
func unwatched(id pam.UID) string {
	return fmt.Sprintf("job %s goes on; it is not watched any more, because the vault was locked\n"+
		"Next: keyturn pam action job-info %s --wait", id, id)
}

func (s *shell) begun(j pam.Job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = append(s.running, j)
}

func (s *shell) over(id pam.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = slices.DeleteFunc(s.running, func(j pam.Job) bool { return j.ID == id })
}

// leaveJobs says what becomes of the jobs whose end was not told yet.
func (s *shell) leaveJobs() {
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	for _, j := range running {
		s.tell(fmt.Sprintf("job %s of %s goes on in its own process, without this shell\n"+
			"Next: keyturn pam action job-info %s --wait", j.ID, j.AccountName, j.ID))
	}
	s.say()
}
