package job

import (
	"testing"

	"keyturn/pkg/pam"
)

func TestWhatIsSwitchedOffIsLeftOutAndSaysSo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		off  []int
		want string
	}{
		{"one of two machines", []int{1}, "Rotation completed for record uid UUUUUUUUUUUUUUUUUUUUUU with post-execution"},
		{"all of them", []int{0, 1}, "Rotation completed for record uid UUUUUUUUUUUUUUUUUUUUUU"},
	} {
		sc := newScene(2, true)
		for _, n := range c.off {
			sc.store.mappings[n].Disabled = true
			// Nobody connects: a host that is gone, and a record that names none, do not matter.
			sc.world.hosts[sc.store.mappings[n].Machine].down = true
			delete(sc.store.machines, sc.store.mappings[n].Machine)
		}
		j := sc.run(t)
		if j.State != pam.JobFinished || j.Message != c.want {
			t.Errorf("%s: the job is %s: %s", c.name, j.State, j.Message)
		}
		skipped := 0
		for _, i := range j.Items {
			if i.Reason == "disabled" {
				skipped++
				if i.Kind != pam.KindMachine || i.Status != pam.StatusSkipped || i.Action != pam.ActionSkip || i.MachineTitle == "" {
					t.Errorf("%s: %+v", c.name, i)
				}
			}
		}
		if skipped != len(c.off) {
			t.Errorf("%s: %d machines are said to be left out, want %d", c.name, skipped, len(c.off))
		}
		for _, n := range c.off {
			for _, s := range sc.world.hosts[sc.store.mappings[n].Machine].services {
				if s.target && s.password != oldPassword {
					t.Errorf("%s: %s was given the new password", c.name, s.name)
				}
			}
		}
	}
}

func TestAMachineThatIsSwitchedOffLaterKeepsNoJobOpen(t *testing.T) {
	t.Parallel()
	sc := newScene(2, true)
	sc.world.hosts[uid("2")].lag = true // its domain controller refuses the new password
	if j := sc.run(t); j.State != pam.JobPartial {
		t.Fatalf("the job is %s: %s", j.State, j.Message)
	}
	sc.store.mappings[1].Disabled = true
	if j := sc.run(t); j.State != pam.JobFinished {
		t.Errorf("the job is %s: %s", j.State, j.Message)
	}
}
