package vault_test

import (
	"reflect"
	"testing"
	"time"

	"keyturn/pkg/pam"
)

func TestDiscoveriesAreKeptUntilRemoved(t *testing.T) {
	t.Parallel()
	v, dir := create(t)
	ctx := t.Context()
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	older, err := v.SaveDiscovery(ctx, pam.Discovery{Scope: "machine SRV1", State: pam.JobRunning, Started: at(1)})
	must(t, err)
	newer, err := v.SaveDiscovery(ctx, pam.Discovery{Scope: "folder /Prod", State: pam.JobRunning, Started: at(2)})
	must(t, err)
	for _, title := range []string{"srv2", "SRV1", "SRV3"} {
		f := pam.Finding{Machine: add(t, v, machineRecord(title, title, "windows")), Title: title, Items: []pam.FoundItem{
			{Kind: pam.KindService, Name: "App", RunAs: `LAB\svc`, Owner: pam.Owner{SID: "S-1-5-21-1", Class: "user"}},
		}}
		must(t, v.SaveFinding(ctx, older.ID, f))
		must(t, v.SaveFinding(ctx, older.ID, f)) // looked at again
	}
	older.State = pam.JobFinished
	_, err = v.SaveDiscovery(ctx, older)
	must(t, err)
	must(t, v.Close())

	v, err = openAgain(t, dir)
	must(t, err)
	all, err := v.Discoveries(ctx)
	if err != nil || len(all) != 2 || all[0].ID != newer.ID || all[1].State != pam.JobFinished {
		t.Errorf("got %+v, %v", all, err)
	}
	d, fs, err := v.Discovery(ctx, older.ID)
	var titles []string
	for _, f := range fs {
		titles = append(titles, f.Title)
	}
	if err != nil || d.Scope != "machine SRV1" || !reflect.DeepEqual(titles, []string{"SRV1", "srv2", "SRV3"}) || fs[0].Items[0].Owner.SID != "S-1-5-21-1" {
		t.Errorf("got %+v with %v, %v", d, titles, err)
	}
	before, err := v.Check(ctx)
	must(t, err)
	must(t, v.DeleteDiscovery(ctx, older.ID))
	if after, err := v.Check(ctx); err != nil || after.Rows != before.Rows-4+1 {
		t.Errorf("a check read %d rows before a discovery with three findings was removed, and %d after, %v", before.Rows, after.Rows, err)
	}
	wants(t, v.DeleteDiscovery(ctx, older.ID), pam.ErrNotFound, "no discovery job")
	wants(t, v.SaveFinding(ctx, older.ID, pam.Finding{Machine: "m"}), pam.ErrNotFound, "no discovery job")
	if _, _, err = v.Discovery(ctx, older.ID); err == nil {
		t.Error("a removed discovery is there")
	}
	if all, err = v.Discoveries(ctx); err != nil || len(all) != 1 {
		t.Errorf("got %+v, %v", all, err)
	}
	must(t, v.VerifyAudit(ctx))
}
