package embedded

import "golang.org/x/sys/unix"

// networkFileSystems names the file systems that other machines may write to, by the magic numbers of statfs(2).
var networkFileSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.SMB2_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.AFS_SUPER_MAGIC: "AFS", unix.AFS_FS_MAGIC: "AFS", unix.CODA_SUPER_MAGIC: "Coda", unix.NCP_SUPER_MAGIC: "NCP",
	unix.CEPH_SUPER_MAGIC: "Ceph", unix.V9FS_MAGIC: "9P", unix.OCFS2_SUPER_MAGIC: "OCFS2", 0x01161970: "GFS2",
	0x0bd00bd0: "Lustre",
}

// fileSystem returns the kind of network file system that path is on, or "" if it is local.
func fileSystem(path string) (string, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return "", err
	}
	return networkFileSystems[int64(stat.Type)&0xffffffff], nil
}
