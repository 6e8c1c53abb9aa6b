package commands

import (
	"context"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newGateway(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "gateway", Aliases: []string{"g"}, Short: "Manage Gateways",
	}, newGatewayList(d), newGatewayNew(d), newGatewayEdit(d), newGatewayRemove(d))
}

type gatewayListOptions struct{ force, verbose, online bool }

// A gatewayRow is a gateway in JSON, with Commander's keys.
type gatewayRow struct {
	AppName       string  `json:"ksm_app_name"`
	AppUID        pam.UID `json:"ksm_app_uid"`
	AppAccessible bool    `json:"ksm_app_accessible"`
	Name          string  `json:"gateway_name"`
	UID           pam.UID `json:"gateway_uid"`
	Status        string  `json:"status"`
	Version       string  `json:"gateway_version"`
	OS            string  `json:"os,omitempty"`
	MachineType   string  `json:"machine_type,omitempty"`
	app           string
}

func newGatewayList(d *Deps) *cobra.Command {
	o := gatewayListOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"l"},
		Short:   "List Gateways",
		Long: `List the gateways: who works on the target machines. A new vault has one,
Embedded. All of them work from this machine.`,
		Example:     "  keyturn pam gateway list\n  keyturn pam gateway list -v --format json",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.force, "force", "f", false, "accepted for Commander's sake: the list is always fresh")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show versions and operating systems too")
	f.BoolVarP(&o.online, "online", "o", false, "count the gateways that are online")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return listGateways(ctx, c, o) })
}

func listGateways(ctx context.Context, c *call, o gatewayListOptions) (output.View, error) {
	rows, err := gatewayRows(ctx, c, o)
	if err != nil {
		return output.View{}, err
	}
	t := output.Table{Header: []string{"KSM Application Name (UID)", "Gateway Name", "Gateway UID", "Status"}, Fixed: !o.verbose}
	if o.verbose {
		t.Header = append(t.Header, "Gateway Version", "OS", "Machine Type")
	}
	for _, r := range rows {
		row := []string{r.app, r.Name, string(r.UID), r.Status}
		if o.verbose {
			row = append(row, r.Version, r.OS, r.MachineType)
		}
		t.Rows = append(t.Rows, row)
	}
	doc := map[string]any{"gateways": rows}
	v := output.View{Before: []string{""}, Tables: []output.Table{t}, Document: doc}
	if o.online {
		// Every gateway of this build is the embedded one, which is always there.
		v.After = []string{"", "Gateways: Online: " + count(rows) + ", Offline: 0, Total: " + count(rows)}
		doc["gateway_counts"] = map[string]int{"online": len(rows), "offline": 0, "total": len(rows)}
	}
	return v, nil
}

func gatewayRows(ctx context.Context, c *call, o gatewayListOptions) ([]gatewayRow, error) {
	gateways, err := c.vault.Gateways(ctx)
	if err != nil {
		return nil, err
	}
	configs, err := c.vault.Configurations(ctx)
	if err != nil {
		return nil, err
	}
	rows := []gatewayRow{}
	for _, g := range gateways {
		r := gatewayRow{AppAccessible: true, Name: g.Name, UID: g.UID, Status: "ONLINE", Version: c.Version}
		var apps []string
		for _, cfg := range configs {
			if cfg.Gateway != g.UID {
				continue
			}
			if r.AppUID == "" {
				r.AppName, r.AppUID = cfg.Title, cfg.UID
			}
			apps = append(apps, titled(cfg.Title, cfg.UID))
		}
		r.app = strings.Join(apps, ", ")
		if o.verbose {
			r.OS, r.MachineType = runtime.GOOS, runtime.GOARCH
		}
		rows = append(rows, r)
	}
	sortBy(rows, func(r gatewayRow) string { return r.Status + "\x00" + strings.ToLower(r.app) })
	return rows, nil
}
