package dependency

import (
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// OwnerOf is ownerOf for the tests of the contract.
func OwnerOf(m powershell.Match) pam.Owner { return *ownerOf(m) }
