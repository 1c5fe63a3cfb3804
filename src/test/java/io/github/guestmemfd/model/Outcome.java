package io.github.guestmemfd.model;

import io.github.guestmemfd.ConversionBlockedException;
import io.github.guestmemfd.abi.Errno;
import io.github.guestmemfd.abi.GuestMemfdException;
import io.github.guestmemfd.abi.SigBusException;
import io.github.guestmemfd.abi.SigSegvException;
import java.util.function.Supplier;

/** How a call ended: what the library did and what the model says, in one form. */
sealed interface Outcome {

  /** The call returned; the value is null if it has none to compare. */
  record Returned(Object value) implements Outcome {
    @Override
    public String toString() {
      return value == null ? "ok" : String.valueOf(value);
    }
  }

  /** A system call's error. */
  record Refused(Errno errno) implements Outcome {
    @Override
    public String toString() {
      return errno.toString();
    }
  }

  /** SIGBUS or SIGSEGV, and its address from the start of the mapping. */
  record Signal(String name, long offset) implements Outcome {
    @Override
    public String toString() {
      return name + " at " + offset;
    }
  }

  /** A conversion was refused: EAGAIN, the first busy folio, and who holds it. */
  record Blocked(long offset, int unsafe, int pinned, int safe) implements Outcome {}

  /** An error of the caller, which the kernel knows nothing of. */
  record Misuse(String exception) implements Outcome {
    @Override
    public String toString() {
      return exception;
    }
  }

  /** A callback has thrown: the one with this number, counted from 0 over all files. */
  record CallbackThrew(int callback) implements Outcome {}

  /**
   * Bytes were moved: how it ended, how many they were, or -1 if the caller is not told, and a hash
   * of the caller's bytes.
   */
  record Moved(Outcome end, int count, int hash) implements Outcome {
    @Override
    public String toString() {
      String counted = count < 0 ? "" : " after " + count + " bytes";
      return end + counted + " (hash " + Integer.toHexString(hash) + ")";
    }
  }

  /** Ends a call of the model with something else than a return. */
  final class Stop extends RuntimeException {
    private static final long serialVersionUID = 1L;

    final transient Outcome outcome;

    Stop(Outcome outcome) {
      super(outcome.toString(), null, false, false);
      this.outcome = outcome;
    }

    Stop(Errno errno) {
      this(new Refused(errno));
    }
  }

  /** Runs a call, of the library or of the model. What must not be thrown goes through. */
  static Outcome of(Supplier<?> call) {
    try {
      return new Returned(call.get());
    } catch (Stop e) {
      return e.outcome;
    } catch (ScriptedOps.Thrown e) {
      return new CallbackThrew(e.callback);
    } catch (ConversionBlockedException e) {
      return new Blocked(
          e.busyFolio().offset(),
          e.busyFolio().unsafeHolders(),
          e.busyFolio().pinnedHolders(),
          e.busyFolio().safeHolders());
    } catch (SigBusException e) {
      return new Signal("SIGBUS", e.offset());
    } catch (SigSegvException e) {
      return new Signal("SIGSEGV", e.offset());
    } catch (GuestMemfdException e) {
      return new Refused(e.errno());
    } catch (IndexOutOfBoundsException e) {
      return new Misuse("out of bounds");
    } catch (IllegalArgumentException e) {
      return new Misuse("illegal argument");
    } catch (IllegalStateException e) {
      return new Misuse("illegal state");
    }
  }
}
