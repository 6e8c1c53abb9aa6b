# Makes a throw-away Active Directory domain for Samba, by Samba's own Python
# library: like "samba-tool domain provision", but without the ACLs of sysvol,
# which need extended attributes that not every file system has.
# The password of the Administrator comes on standard input.
import logging
import sys

from samba import param
from samba.auth import system_session
from samba.dsdb import DS_DOMAIN_FUNCTION_2008_R2
from samba.provision import provision

base, targetdir, realm, domain, host, address = sys.argv[1:7]
settings = param.LoadParm()
settings.load(base)
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
provision(
    logging.getLogger("provision"), system_session(), smbconf=base, targetdir=targetdir, realm=realm, domain=domain,
    hostname=host, hostip=address, adminpass=sys.stdin.readline(), serverrole="active directory domain controller",
    dom_for_fun_level=DS_DOMAIN_FUNCTION_2008_R2, dns_backend="SAMBA_INTERNAL", useeadb=True, lp=settings,
    use_ntvfs=False, skip_sysvolacl=True)
