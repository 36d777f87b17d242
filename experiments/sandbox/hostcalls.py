"""System calls that reach past a script which shares the host's namespaces: other processes, files, shared memory.

Where a script has a process table, a network and mounts of its own, these lead nowhere and stay allowed. Landlock alone
leaves them open: it judges opening a file, not changing the mode of one, nor connecting to a socket that lies on disk.
Names and numbers come from the kernel's tables (x86_64, aarch64). Rejected: one list for all levels, which would take
pipes between a script's own processes from everybody.
"""

FORBIDDEN: dict[str, tuple[int | None, int | None]] = {
    # sockets: a connected pair may be inherited or made, nothing may be reached
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242),
    # what belongs to a file: with the owner's own user id, permissions would not stop it
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "getxattr": (191, 8), "lgetxattr": (192, 9), "listxattr": (194, 11),
    "llistxattr": (195, 12), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "getxattrat": (464, 464), "listxattrat": (465, 465), "removexattrat": (466, 466),
    "file_getattr": (468, 468), "file_setattr": (469, 469), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # memory and messages that every process of a user shares
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    # other processes' priority and pages
    "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "process_mrelease": (448, 448),
}
# Where the kernel cannot keep signals inside (Landlock before its version 6), nobody may send any.
SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
}
# The first argument is a process: only 0, oneself, will do.
ON_ONESELF: dict[str, tuple[int | None, int | None]] = {
    "prlimit64": (302, 261), "sched_setaffinity": (203, 122), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
}
SOCKETPAIR, FCNTL = (53, 199), (72, 25)
KIND_MASK, STREAM, SEQPACKET = 0xF, 1, 5  # a datagram socket of a pair could be turned to another address
SIGNAL_OWNERS = (8, 15)  # F_SETOWN, F_SETOWN_EX: the kernel would then send a signal of one's choice
SIGNAL_OWNER_IOCTLS = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP: the same
