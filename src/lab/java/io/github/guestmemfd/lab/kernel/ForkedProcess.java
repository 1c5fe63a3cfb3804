package io.github.guestmemfd.lab.kernel;

import com.sun.jna.Function;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A process that was forked from the JVM, or from another such process, and makes system calls on
 * its own copy of the address space.
 *
 * <p>A JVM does not survive a fork: of its threads the child has one. So the child never returns to
 * it. It runs {@link #CODE} alone, which reads a system call from a pipe, makes it, writes the
 * answer to another, and so on. It needs nothing of the JVM's but the page with this code and a
 * stack.
 *
 * <p>It shares the JVM's descriptors ({@code CLONE_FILES}), so pipes that are made later are its
 * own too. It dies with the JVM: the kernel kills it when the thread that has forked it ends, which
 * is a thread of its own that never does.
 *
 * <p>For x86-64. Safe for use by any number of threads.
 */
final class ForkedProcess implements UserSpace {
  /**
   * What {@code as} makes of the following. It is called as {@code int f(int in, int out)} and
   * answers as clone; the child does not return. The fork of a child has its pipes in the last two
   * arguments of clone, which the kernel does not look at.
   *
   * <pre>
   *        mov   r8d, edi            ; in
   *        mov   r9d, esi            ; out
   *        mov   edi, 0x411          ; CLONE_FILES | SIGCHLD
   *        xor   esi, esi
   *        xor   edx, edx
   *        xor   r10d, r10d
   *        mov   eax, 56             ; clone
   *        syscall
   *        test  eax, eax
   *        jnz   out
   * child: mov   r12d, r8d
   *        mov   r13d, r9d
   *        sub   rsp, 128
   * next:  xor   eax, eax            ; read
   *        mov   edi, r12d
   *        mov   rsi, rsp
   *        mov   edx, 56             ; a number and six arguments
   *        syscall
   *        cmp   eax, 56
   *        jne   end
   *        mov   rax, [rsp]
   *        mov   rdi, [rsp + 8]
   *        mov   rsi, [rsp + 16]
   *        mov   rdx, [rsp + 24]
   *        mov   r10, [rsp + 32]
   *        mov   r8, [rsp + 40]
   *        mov   r9, [rsp + 48]
   *        syscall
   *        test  rax, rax
   *        jnz   tell
   *        cmp   qword ptr [rsp], 56 ; clone, in the child
   *        je    child
   * tell:  mov   [rsp], rax
   *        mov   eax, 1              ; write
   *        mov   edi, r13d
   *        mov   rsi, rsp
   *        mov   edx, 8
   *        syscall
   *        jmp   next
   * end:   mov   eax, 231            ; exit_group
   *        xor   edi, edi
   *        syscall
   * out:   ret
   * </pre>
   */
  private static final byte[] CODE =
      HexFormat.of()
          .parseHex(
              "4189f84189f1bf1104000031f631d24531d2b8380000000f0585c075724589c44589cd48"
                  + "81ec8000000031c04489e74889e6ba380000000f0583f8387548488b0424488b7c240848"
                  + "8b742410488b5424184c8b5424204c8b4424284c8b4c24300f054885c0750748833c2438"
                  + "74af48890424b8010000004489ef4889e6ba080000000f05eba4b8e700000031ff0f05c3");

  private static final long READ = 0;
  private static final long WRITE = 1;
  private static final long MMAP = 9;
  private static final long MPROTECT = 10;
  private static final long MUNMAP = 11;
  private static final long MREMAP = 25;
  private static final long MINCORE = 27;
  private static final long MADVISE = 28;
  private static final long CLONE = 56;
  private static final long PRCTL = 157;
  private static final long EXIT_GROUP = 231;
  private static final long VMSPLICE = 278;

  private static final long CLONE_FILES = 0x400;

  /** The JVM is the parent of each of them: it waits for their end. */
  private static final long CLONE_PARENT = 0x8000;

  private static final long SIGCHLD = 17;
  private static final long SIGKILL = 9;
  private static final long PR_SET_PDEATHSIG = 1;

  private static final ExecutorService FORKER =
      Executors.newSingleThreadExecutor(
          task -> {
            Thread thread = new Thread(task, "forker");
            thread.setDaemon(true);
            return thread;
          });

  /** Where each process has the code. */
  private static final long CODE_ADDRESS = page();

  /** A page for what system calls read and write, each process's own. */
  private static final long SCRATCH = page();

  static {
    try (Pipe pipe = Pipe.make()) { // by the kernel: the JVM does not touch addresses
      Libc.write(pipe.in(), CODE, CODE.length);
      Libc.read(pipe.out(), CODE_ADDRESS, CODE.length);
    }
    Libc.mprotect(CODE_ADDRESS, KernelExecutor.PAGE_SIZE, Libc.PROT_READ | Libc.PROT_EXEC);
  }

  private final ReentrantLock lock = new ReentrantLock();
  private final int pid;

  /** What it reads. */
  private final Pipe calls;

  /** What it writes. */
  private final Pipe answers;

  private boolean ended;

  private ForkedProcess(int pid, Pipe calls, Pipe answers) {
    this.pid = pid;
    this.calls = calls;
    this.answers = answers;
  }

  private static long page() {
    int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS;
    int prot = Libc.PROT_READ | Libc.PROT_WRITE;
    long address = Libc.mmap(0, KernelExecutor.PAGE_SIZE, prot, flags, -1, 0);
    if (address == -1) {
      throw new IllegalStateException("mmap: " + Libc.name(Libc.errno()));
    }
    return address;
  }

  /** Forks the JVM. */
  static ForkedProcess ofJvm() {
    String arch = System.getProperty("os.arch");
    if (!arch.equals("amd64")) {
      throw new UnsupportedOperationException("fork: expected amd64, actual " + arch);
    }
    return make(
        (in, out) -> {
          Function fork = Function.getFunction(new Pointer(CODE_ADDRESS));
          try {
            return FORKER.submit(() -> fork.invokeInt(new Object[] {in, out})).get();
          } catch (InterruptedException | ExecutionException e) {
            throw new IllegalStateException("fork", e);
          }
        });
  }

  @Override
  public ForkedProcess fork() {
    long flags = CLONE_FILES | CLONE_PARENT | SIGCHLD;
    return make((in, out) -> (int) call(CLONE, flags, 0, 0, 0, in, out));
  }

  @FunctionalInterface
  private interface Clone {
    int pid(int in, int out);
  }

  private static ForkedProcess make(Clone clone) {
    Pipe calls = Pipe.make();
    Pipe answers = Pipe.make();
    int pid = clone.pid(calls.out(), answers.in());
    if (pid < 0) {
      calls.close();
      answers.close();
      throw new IllegalStateException("clone: " + Libc.name(-pid));
    }
    ForkedProcess process = new ForkedProcess(pid, calls, answers);
    process.call(PRCTL, PR_SET_PDEATHSIG, SIGKILL);
    return process;
  }

  /** Ends the process, whose mappings are gone then. */
  void exit() {
    lock.lock();
    try {
      if (!ended) {
        ended = true;
        send(EXIT_GROUP);
        Libc.waitpid(pid, 0, 0);
        calls.close();
        answers.close();
      }
    } finally {
      lock.unlock();
    }
  }

  private void send(long number, long... arguments) {
    ByteBuffer call = ByteBuffer.allocate(7 * Long.BYTES).order(ByteOrder.nativeOrder());
    call.putLong(number);
    for (long argument : arguments) {
      call.putLong(argument);
    }
    if (Libc.write(calls.in(), call.array(), call.capacity()) != call.capacity()) {
      throw new IllegalStateException("write: " + Libc.name(Libc.errno()));
    }
  }

  private long call(long number, long... arguments) {
    lock.lock();
    try {
      if (ended) {
        throw new IllegalStateException("process " + pid + " has ended");
      }
      send(number, arguments);
      byte[] answer = new byte[Long.BYTES];
      if (Libc.read(answers.out(), answer, answer.length) != answer.length) {
        throw new IllegalStateException("read: " + Libc.name(Libc.errno()));
      }
      return ByteBuffer.wrap(answer).order(ByteOrder.nativeOrder()).getLong();
    } finally {
      lock.unlock();
    }
  }

  @Override
  public long mmap(long address, long length, int prot, int flags, int fd, long offset) {
    return call(MMAP, address, length, prot, flags, fd, offset);
  }

  @Override
  public long munmap(long address, long length) {
    return call(MUNMAP, address, length);
  }

  @Override
  public long mprotect(long address, long length, int prot) {
    return call(MPROTECT, address, length, prot);
  }

  @Override
  public long mremap(long address, long oldLength, long newLength, long newAddress) {
    long flags = Libc.MREMAP_MAYMOVE | Libc.MREMAP_FIXED;
    return call(MREMAP, address, oldLength, newLength, flags, newAddress);
  }

  @Override
  public long madvise(long address, long length, int advice) {
    return call(MADVISE, address, length, advice);
  }

  @Override
  public long mbind(long address, long length, int mode, long nodes) {
    lock.lock(); // the page is one
    try {
      fill(nodes);
      return call(Libc.SYS_MBIND, address, length, mode, SCRATCH, Long.SIZE + 1, 0);
    } finally {
      lock.unlock();
    }
  }

  @Override
  public long mempolicy(long address, long[] policy) {
    lock.lock(); // the page is one
    try (Pipe pipe = Pipe.make()) {
      fill(0, 0); // the mode is an int
      long result =
          call(
              Libc.SYS_GET_MEMPOLICY,
              SCRATCH,
              SCRATCH + Long.BYTES,
              Long.SIZE,
              address,
              Libc.MPOL_F_ADDR);
      byte[] answer = new byte[2 * Long.BYTES];
      call(WRITE, pipe.in(), SCRATCH, answer.length);
      Libc.read(pipe.out(), answer, answer.length);
      ByteBuffer.wrap(answer).order(ByteOrder.nativeOrder()).asLongBuffer().get(policy);
      return result;
    } finally {
      lock.unlock();
    }
  }

  /** Writes numbers to the page of the process; its lock is held. */
  private void fill(long... numbers) {
    ByteBuffer bytes =
        ByteBuffer.allocate(numbers.length * Long.BYTES).order(ByteOrder.nativeOrder());
    bytes.asLongBuffer().put(numbers);
    try (Pipe pipe = Pipe.make()) {
      Libc.write(pipe.in(), bytes.array(), bytes.capacity());
      call(READ, pipe.out(), SCRATCH, bytes.capacity());
    }
  }

  @Override
  public long mincore(long page) {
    return call(MINCORE, page, KernelExecutor.PAGE_SIZE, SCRATCH);
  }

  @Override
  public long read(int fd, long address, long length) {
    return call(READ, fd, address, length);
  }

  @Override
  public long write(int fd, long address, long length) {
    return call(WRITE, fd, address, length);
  }

  @Override
  public long vmsplice(int fd, long address, long length) {
    lock.lock(); // the page is one
    try {
      fill(address, length);
      return call(VMSPLICE, fd, SCRATCH, 1, Libc.SPLICE_F_NONBLOCK);
    } finally {
      lock.unlock();
    }
  }

  @Override
  public String toString() {
    return "process " + pid;
  }
}
