package commands

import (
	"github.com/spf13/cobra"
)

func newPam(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "pam", Short: "Manage rotations, gateways and services", Aliases: []string{},
	}, newGateway(d), newConfig(d), newRotation(d), newAction(d), newProject(d))
}

func newAction(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "action", Aliases: []string{"a"}, Short: "Execute action on the Gateway",
	}, newRotate(d), newJobInfo(d), newJobList(d), newJobCancel(d), newResume(d),
		newRestart(d), newRetry(d), newService(d), newDiscover(d), newGatewayInfo(d))
}

func newService(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "service", Aliases: []string{"s"}, Short: "Manage services and scheduled tasks user mappings.",
	}, newServiceList(d), newServiceAdd(d), newServiceRemove(d), newServiceEnable(d), newServiceDisable(d),
		newServiceMap(d))
}

func newRotation(d *Deps) *cobra.Command {
	return group(&cobra.Command{
		Use: "rotation", Aliases: []string{"r"}, Short: "Manage Rotations",
	}, newRotationEdit(d), newRotationList(d), newRotationInfo(d))
}
