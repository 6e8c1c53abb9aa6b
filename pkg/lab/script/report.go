package script

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"keyturn/pkg/lab/model"
	"keyturn/pkg/powershell"
)

// explain notes processes that an item of the inventory accounts for.
func (r *run) explain(pids ...int) {
	for _, pid := range pids {
		if pid > 0 {
			r.known[pid] = true
		}
	}
}

// lookReport tells where the account is used and nothing here changes a password.
func (r *run) lookReport(ctx context.Context) error {
	if len(r.who.sids) == 0 {
		return nil
	}
	for _, step := range []func(context.Context) error{r.reportProcesses, r.reportApplications, r.reportPlaces} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) reportLine(ctx context.Context, kind, reason string, l powershell.Line) error {
	l.Phase, l.Kind, l.Status, l.Reason = "look", kind, "skipped", reason
	return r.item(ctx, l)
}

func (r *run) reportProcesses(ctx context.Context) error {
	all, err := ask(ctx, r.m.Processes)
	if err != nil {
		return err
	}
	byID := map[int]model.Process{}
	for _, p := range all {
		byID[p.PID] = p
	}
	for _, p := range all {
		if p.PID <= 4 || r.explained(p, byID) || !slices.Contains(r.who.sids, p.Owner) {
			continue
		}
		err := r.reportLine(ctx, "process", powershell.ClassUnmanagedProcess, powershell.Line{
			ID: strconv.Itoa(p.PID), Display: p.Image, RunAs: r.who.name, PID: p.PID, Started: p.Started,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// maxAncestors bounds the walk to a process' root.
const maxAncestors = 64

// explained reports whether an item accounts for a process or one of its
// ancestors. A parent that is younger than its child is another process that got
// the number later.
func (r *run) explained(p model.Process, all map[int]model.Process) bool {
	for range maxAncestors {
		if r.known[p.PID] {
			return true
		}
		parent, ok := all[p.Parent]
		if !ok || p.Parent <= 0 || parent.Started > p.Started {
			return false
		}
		p = parent
	}
	return false
}

// reportApplications tells of COM+ applications, then of DCOM servers.
func (r *run) reportApplications(ctx context.Context) error {
	all, err := ask(ctx, r.m.Applications)
	if err != nil {
		return err
	}
	for _, dcom := range []bool{false, true} {
		for _, a := range all {
			if a.DCOM != dcom || a.RunAs == "" {
				continue
			}
			m, err := r.match(ctx, a.RunAs)
			if err != nil {
				return err
			}
			if !m.Hit {
				continue
			}
			kind, l := powershell.ClassCOMPlus, powershell.Line{ID: a.Name, RunAs: a.RunAs}
			if dcom {
				kind, l = powershell.ClassDCOM, powershell.Line{ID: a.ID, Display: a.Name, RunAs: a.RunAs}
			}
			if err := r.reportLine(ctx, kind, kind, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) reportElsewhere(ctx context.Context, place, runAs string) error {
	if runAs == "" {
		return nil
	}
	m, err := r.match(ctx, runAs)
	if err != nil || !m.Hit {
		return err
	}
	return r.reportLine(ctx, "elsewhere", powershell.ClassElsewhere, powershell.Line{ID: place, RunAs: runAs})
}

// reportPlaces tells of the places outside of everything else that store the
// account: the registry's, then IIS'.
func (r *run) reportPlaces(ctx context.Context) error {
	places, err := ask(ctx, r.m.Elsewhere)
	if err != nil {
		return err
	}
	for _, p := range [][2]string{
		{"Winlogon autologon", model.PlaceAutologon}, {"IIS central certificate store", model.PlaceCertificates},
	} {
		if err := r.reportElsewhere(ctx, p[0], places[p[1]]); err != nil {
			return err
		}
	}
	if !r.info.IIS {
		return nil
	}
	return r.reportIISPlaces(ctx, places)
}

func (r *run) reportIISPlaces(ctx context.Context, places map[string]string) error {
	v, err := ask(ctx, r.m.IIS)
	if err != nil {
		return err
	}
	if v.Shared != "" {
		err := r.reportLine(ctx, "iis_shared", powershell.ClassSharedConfig, powershell.Line{ID: v.Shared})
		if err != nil {
			return err
		}
		if err := r.reportElsewhere(ctx, "IIS shared configuration", places[model.PlaceRedirection]); err != nil {
			return err
		}
	}
	told := map[string]bool{}
	for _, d := range v.Directories { // the applications that the model knows of
		app := d.Site + strings.TrimRight(d.App, "/")
		if told[app] {
			continue
		}
		told[app] = true
		if err := r.reportElsewhere(ctx, "<identity> in "+app+"/web.config", places[app]); err != nil {
			return err
		}
	}
	return nil
}
