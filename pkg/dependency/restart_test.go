package dependency_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

var plan = pam.RestartPlan{
	Stops: []pam.Stop{
		{Name: "Web", State: "Running", PID: 5},
		{Name: "App", State: "Running", PID: 4, Started: time.Date(2026, 11, 24, 9, 0, 0, 0, time.FixedZone("CET", 3600)), Target: true},
	},
	Starts:   []pam.Start{{Name: "App"}, {Name: "Web", Pause: true}},
	Recycles: []pam.Recycle{{Name: "Shop", Workers: []int{7}}}, StopTimeout: time.Second, StartTimeout: 2 * time.Second, Settle: 3 * time.Second,
}

func TestRestart(t *testing.T) {
	t.Parallel()
	ok := `{"t":"item","phase":"restart","kind":"service","id":"App","status":"ok","after":{"state":"Running","started":"2026-11-24T11:00:00Z"}}
{"t":"item","phase":"restart","kind":"service","id":"Web","status":"ok"}
{"t":"item","phase":"recycle","kind":"iis_pool","id":"Shop","status":"noop"}
`
	for _, row := range []struct {
		name string
		c    canned
		want []string
		err  error
	}{
		{
			name: "half a restart is no result", c: canned{lines: talk(t, hello+`{"t":"item","phase":"stop","kind":"service","id":"App","status":"ok"}
`+ok+bye)},
			want: []string{"restart service App ok", "restart service Web ok", "restart iis_pool Shop noop"},
		},
		{
			name: "a stop that did not work out is heard at once, and its last word counts",
			c: canned{lines: talk(t, hello+`{"t":"item","phase":"stop","kind":"service","id":"App","status":"timeout","err":{"class":"stop_timeout"}}
`+ok+bye)},
			want: []string{
				"restart service App timeout stop_timeout", "restart service App ok", "restart service Web ok", "restart iis_pool Shop noop",
			},
		},
		{
			name: "a cut leaves unknown what has no last word",
			c: canned{lines: talk(t, hello+`{"t":"item","phase":"stop","kind":"service","id":"Web","status":"ok"}
{"t":"item","phase":"stop","kind":"service","id":"App","status":"failed","err":{"class":"access_denied"}}
`), broken: broke},
			want: []string{
				"restart service App failed access_denied", "restart service Web unknown io", "restart iis_pool Shop unknown io",
			}, err: pam.ErrIO,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var heard []string
			err := row.c.open(t).Restart(t.Context(), "run1", plan, func(r dependency.ItemResult) { heard = append(heard, brief(r)) })
			if row.err == nil && err != nil || !errors.Is(err, row.err) {
				t.Errorf("got %v, want %v", err, row.err)
			}
			if diff := cmp.Diff(row.want, heard); diff != "" {
				t.Error(diff)
			}
			want := &powershell.Plan{
				Stops: []powershell.PlanStop{
					{ID: "Web", State: "Running", PID: 5}, {ID: "App", State: "Running", PID: 4, Started: "2026-11-24T08:00:00Z"},
				},
				Starts:   []powershell.PlanStart{{ID: "App"}, {ID: "Web", Pause: true}},
				Recycles: []powershell.PlanRecycle{{ID: "Shop", Workers: []int{7}}}, StopTimeoutMs: 1000, StartTimeoutMs: 2000, SettleMs: 3000,
			}
			if diff := cmp.Diff(want, row.c.asked[0].Plan); diff != "" {
				t.Error(diff)
			}
			if len(row.c.secrets) != 0 {
				t.Error("a restart needs no secret")
			}
		})
	}
}

func TestRepairAnswersInItsOwnPhase(t *testing.T) {
	t.Parallel()
	c := &canned{lines: talk(t, hello+`{"t":"item","phase":"repair","kind":"service","id":"App","status":"ok"}
{"t":"item","phase":"repair","kind":"service","id":"Web","status":"skipped","reason":"already_running"}
`+bye)}
	var heard []string
	if err := c.open(t).Repair(t.Context(), "run1", plan, func(r dependency.ItemResult) { heard = append(heard, brief(r)) }); err != nil {
		t.Fatal(err)
	}
	want := []string{"repair service App ok", "repair service Web skipped"}
	if diff := cmp.Diff(want, heard); diff != "" || c.asked[0].Op != powershell.OpRepair {
		t.Errorf("%s asked %+v", diff, c.asked[0])
	}
}
