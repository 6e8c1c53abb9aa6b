package script_test

import (
	"testing"

	"keyturn/pkg/lab/model"
)

func TestTasks(t *testing.T) {
	t.Parallel()
	rows := []row{
		{
			"W01 a started pool gets new workers", nil, func(w *world) { w.pool("P", nil) },
			map[string]string{"P": "update=ok restart=noop/already_recycled Started recycles=1 new"},
		},
		{
			"W02 its name is compared by who it is", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.UserName = `CORP\SVC_APP` }) },
			map[string]string{"P": "update=ok restart=noop/already_recycled Started recycles=1 new"},
		},
		{
			"W03 a stopped pool stays stopped", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.Stopped, p.Workers = true, 0 }) },
			map[string]string{"P": "update=ok Stopped recycles=0 new"},
		},
		{
			"W04 an idle pool stays idle", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.Workers = 0 }) },
			map[string]string{"P": "update=ok Started recycles=0 new"},
		},
		{
			"W06 a pool that does not recycle by itself is recycled", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.DisallowRotation = true }) },
			map[string]string{"P": "update=ok restart=ok Started recycles=1 new"},
		},
		{
			"W07 a pool that has it already is left", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.Password = pw(newPassword) }) },
			map[string]string{"P": "update=noop/already_current Started recycles=0 new"},
		},
		{
			"W08 a stale user name is not whom it runs as", nil, func(w *world) { w.pool("P", func(p *model.PoolSpec) { p.IdentityType = model.PoolIdentityVirtual }) },
			map[string]string{"P": "Started recycles=0"},
		},
		{
			"W12 odd names are names", nil, func(w *world) { w.pool(`a[b]*'c`, nil) },
			map[string]string{`a[b]*'c`: "update=ok restart=noop/already_recycled Started recycles=1 new"},
		},
		{"W13 without the activation service it is written only", nil, func(w *world) {
			w.pool("P", nil)
			w.m.StopWAS()
		}, map[string]string{"P": "update=ok Started recycles=0 new"}},
		{"W15 a missing key fails the pools, not the services", nil, func(w *world) {
			w.pool("P", nil)
			w.svc("A", model.Running, nil)
			w.m.FailCommits(model.KeysetMissingHR, model.KeysetMissingHR)
		}, map[string]string{"P": "update=failed/iis_key_access Started recycles=0 old", "A": restarted}},
		{"W16 a conflict is tried once more", nil, func(w *world) {
			w.pool("P", nil)
			w.m.FailCommits(0x80070021)
		}, map[string]string{"P": "update=ok restart=noop/already_recycled Started recycles=1 new"}},
	}
	for _, r := range rows {
		t.Run(r.name, r.run)
	}
}

func TestW14WithoutIISThereAreNoPools(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *model.MachineSpec) { s.NoIIS = true })
	inv, err := w.look()
	if err != nil || len(inv.Items) != 0 {
		t.Fatal(inv.Items, err)
	}
}
