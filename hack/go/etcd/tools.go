// Package etcd names the program that the development control plane keeps its data in,
// so that go.mod and go.sum hold exactly what building it takes.
package etcd

import _ "go.etcd.io/etcd/server/v3/etcdmain"
