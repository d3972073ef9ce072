package nginx_test

import "syscall"

// queueOfOne listens on a port of loopback, and accepts nothing.
func queueOfOne(port int) (fd int, err error) {
	fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		closeFD(fd)
		return 0, err
	}
	return fd, syscall.Listen(fd, 0)
}

func closeFD(fd int) { _ = syscall.Close(fd) }
