package manifest

import (
	"io"
	"io/fs"
	"os"
)

// A stamp differs after any change of a file.
type stamp struct {
	size         int64
	mtime, ctime int64 // nanoseconds of Unix time
	inode        uint64
}

// stampOf returns the stamp of a file. It is zero if the system has no ctime.
func stampOf(info fs.FileInfo) stamp {
	ctime, inode, ok := change(info)
	if !ok {
		return stamp{}
	}
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), ctime: ctime, inode: inode}
}

// hash reads a file. The returned info is from before reading, so that concurrent changes are detected.
func hash(path string) (Sum, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return Sum{}, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Sum{}, nil, err
	}
	content, err := io.ReadAll(f)
	return SumOf(content), info, err
}
