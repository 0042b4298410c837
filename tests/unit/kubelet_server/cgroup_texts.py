"""Files of a container's cgroup as kernels write them: version 1 (5.10 and 6.18), version 2 (6.1)."""

V1 = {
    "memory/memory.stat": (
        "cache 1000\nrss 2000\nmapped_file 300\npgfault 70\npgmajfault 7\ninactive_file 400\nactive_file 500\n"
        "hierarchical_memory_limit 134217728\ntotal_cache 1100\ntotal_rss 2100\ntotal_mapped_file 310\ntotal_swap 9\n"
        "total_pgfault 71\ntotal_pgmajfault 8\ntotal_inactive_file 410\ntotal_active_file 510\n"
    ),
    "memory/memory.usage_in_bytes": "5000\n",
    "memory/memory.max_usage_in_bytes": "9000\n",
    "memory/memory.kmem.usage_in_bytes": "600\n",
    "memory/memory.failcnt": "3\n",
    "memory/memory.limit_in_bytes": "134217728\n",
    "memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory/memory.soft_limit_in_bytes": "9223372036854771712\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpu/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 5000000000\nnr_bursts 1\nburst_time 20\n",
    "cpu/cpu.shares": "512\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpu/cpu.cfs_quota_us": "50000\n",
    "cpuacct/cpuacct.usage": "1234567890\n",
    "cpuacct/cpuacct.stat": "user 100\nsystem 23\n",
    "pids/pids.current": "5\n",
    "pids/pids.max": "max\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": "259:0 Read 4096\n259:0 Write 8192\n259:0 Sync 1\nTotal 12288\n",
    "blkio/blkio.throttle.io_serviced_recursive": "259:0 Read 1\n259:0 Write 2\n259:0 Total 3\nTotal 3\n",
}

V2 = {
    "memory.stat": (
        "anon 2100\nfile 1100\nkernel 600\nfile_mapped 310\nactive_file 510\ninactive_file 410\npgfault 71\n"
        "pgmajfault 8\n"
    ),
    "memory.current": "5000\n",
    "memory.peak": "9000\n",
    "memory.swap.current": "9\n",
    "memory.max": "134217728\n",
    "memory.high": "max\n",
    "memory.swap.max": "max\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\noom_group_kill 0\n",
    "memory.pressure": (
        "some avg10=0.50 avg60=0.20 avg300=0.10 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n"
    ),
    "cpu.pressure": "some avg10=1.00 avg60=0.00 avg300=0.00 total=3000000\n",
    "cpu.stat": (
        "usage_usec 1234567\nuser_usec 1000000\nsystem_usec 230000\nnr_periods 10\nnr_throttled 4\n"
        "throttled_usec 5000000\nnr_bursts 1\nburst_usec 0\n"
    ),
    "cpu.weight": "20\n",
    "cpu.max": "50000 100000\n",
    "pids.current": "5\n",
    "pids.max": "100\n",
    "io.stat": "259:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:0 \n",
}

_ZEROS = " 0 0 0 0"
NET_DEV = f"""Inter-|   Receive         |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0 {_ZEROS}      100       1    0    0 {_ZEROS}
  eth0:    1000      10    1    2 {_ZEROS}     2000      20    3    4 {_ZEROS}
"""
