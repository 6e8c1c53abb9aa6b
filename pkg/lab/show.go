package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"keyturn/pkg/lab/model"
)

// Words of the PASSWORD column.
const (
	passwordWorks    = "logs on"
	passwordRejected = "REJECTED"
	passwordNone     = "-"
)

// WriteTable writes what machines look like, for people.
func WriteTable(w io.Writer, machines []model.MachineView) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(columns ...any) {
		for i, c := range columns {
			if i > 0 {
				_, _ = io.WriteString(t, "\t")
			}
			_, _ = fmt.Fprint(t, c)
		}
		_, _ = io.WriteString(t, "\n")
	}
	row("MACHINE", "KIND", "NAME", "RUNS AS", "STATE", "RESTARTS", "STORED PASSWORD")
	for _, m := range machines {
		for _, s := range m.Services {
			row(m.Name, "service", s.Name, s.RunAs, string(s.State), s.Restarts, password(s.StoresSecret, s.CredentialOK))
		}
		for _, k := range m.Tasks {
			row(m.Name, "task", k.Path, k.RunAs, k.State, passwordNone, password(k.StoresSecret, k.CredentialOK))
		}
		for _, p := range m.Pools {
			row(m.Name, "pool", p.Name, p.RunAs, p.State, strconv.Itoa(p.Recycles), password(p.StoresSecret, p.CredentialOK))
		}
		for _, d := range m.Directories {
			row(m.Name, "vdir", d.Name, d.RunAs, passwordNone, passwordNone, password(d.StoresSecret, d.CredentialOK))
		}
		for _, a := range m.Anonymous {
			row(m.Name, "anonymous", a.Name, a.RunAs, passwordNone, passwordNone, password(a.StoresSecret, a.CredentialOK))
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

func password(stores, works bool) string {
	switch {
	case !stores:
		return passwordNone
	case works:
		return passwordWorks
	default:
		return passwordRejected
	}
}

// WriteJSON writes what machines look like, for programs.
func WriteJSON(w io.Writer, machines []model.MachineView) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"machines": machines}); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
