package job

import (
	"slices"
	"testing"
	"time"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
)

// A cut recycle is settled by what the pool looks like afterwards.
func TestACutRecycleIsSettledByTheWorkers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		now    dependency.Item
		phase  pam.Phase
		status pam.Status
		again  bool // it is recycled again, from the workers of before
	}{
		{"new workers were recycled", dependency.Item{State: "Started", Workers: []int{9}}, pam.PhaseRestart, pam.StatusOK, false},
		{"no workers hold no old password", dependency.Item{State: "Started"}, pam.PhaseRestart, pam.StatusOK, false},
		{"an old worker still runs", dependency.Item{State: "Started", Workers: []int{7, 9}}, pam.PhaseUpdate, pam.StatusPending, true},
		{"a pool that stands still is asked about", dependency.Item{State: "Stopped"}, pam.PhaseUpdate, pam.StatusPending, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.now.Kind, row.now.Name = pam.KindPool, "Shop"
			item := pam.Item{
				Machine: "m1", Kind: pam.KindPool, Name: "Shop", Phase: pam.PhaseRestart, Status: pam.StatusUnknown, Updated: true,
				Action: pam.ActionUpdateRestart,
			}
			r := &run{steps: steps{store: &memStore{crash: &crasher{}}, now: time.Now, items: map[itemKey]pam.Item{keyOf(item): item}, fresh: map[itemKey]bool{}}}
			s := &site{machine: pam.Machine{UID: "m1"}, workers: map[string][]int{}}
			r.settleByWorkers(t.Context(), s, pam.Recycle{Name: "shop", Workers: []int{7}}, row.now)
			got, _ := r.steps.get(keyOf(item))
			if got.Phase != row.phase || got.Status != row.status || row.again != slices.Equal(s.workers["Shop"], []int{7}) {
				t.Errorf("%s %s, workers %v", got.Phase, got.Status, s.workers)
			}
		})
	}
}

// A pool whose configuration change gave it new workers before a cut must not be
// recycled by the resume: what it ran with before is what the job noted.
func TestAResumeKnowsTheWorkersOfBefore(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		item pam.Item
		want []int
	}{
		{"an updated pool has its old ones noted", pam.Item{Updated: true, Workers: []int{7}}, []int{7}},
		{"a pool whose answer was lost, too", pam.Item{Status: pam.StatusUnknown, Workers: []int{7}}, []int{7}},
		{"a pool that nothing was sent to has those of now", pam.Item{Status: pam.StatusPending, Workers: []int{7}}, []int{9}},
	} {
		row.item.Machine, row.item.Kind, row.item.Name = "m1", pam.KindPool, "Shop"
		r := &run{steps: steps{items: map[itemKey]pam.Item{keyOf(row.item): row.item}}}
		s := &site{machine: pam.Machine{UID: "m1"}}
		got, sent := r.workersBefore(s, dependency.Item{Kind: pam.KindPool, Name: "shop", Workers: []int{9}})
		if !slices.Equal(got, row.want) || sent != (row.item.Status != pam.StatusPending) {
			t.Errorf("%s: %v, sent %v", row.name, got, sent)
		}
	}
}
