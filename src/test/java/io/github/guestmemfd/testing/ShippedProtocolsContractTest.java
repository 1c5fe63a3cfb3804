package io.github.guestmemfd.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.util.Arrays;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

/** Every shipped protocol that claims to be sound fulfils the contract. */
class ShippedProtocolsContractTest {

  /** The name of each class below is that of its protocol's factory. */
  @Test
  void allThatClaimToBeSoundAreHere() {
    Set<String> tested =
        Arrays.stream(ShippedProtocolsContractTest.class.getDeclaredClasses())
            .map(c -> c.getSimpleName().replaceAll("(?<!^)([A-Z])", "-$1").toLowerCase(Locale.ROOT))
            .collect(Collectors.toCollection(TreeSet::new));
    Set<String> sound =
        ConversionProtocol.all().stream()
            .filter(ConversionProtocol::isSound)
            .map(ConversionProtocol::id)
            .collect(Collectors.toCollection(TreeSet::new));
    sound.add(ConversionProtocol.invalidateLockV8().id());
    assertEquals(sound, tested);
  }

  @Nested
  class BothCounters extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.bothCounters();
    }
  }

  @Nested
  class SafeOnly extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.safeOnly();
    }
  }

  @Nested
  class LockOnly extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.lockOnly();
    }
  }

  @Nested
  class TimedWait extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.timedWait();
    }
  }

  @Nested
  class LastPut extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.lastPut();
    }
  }

  @Nested
  class InvalidateLock extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.invalidateLock();
    }
  }

  @Nested
  class InvalidateLockV8 extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.invalidateLockV8();
    }
  }

  @Nested
  class AtomicPair extends ConversionProtocolContract {
    @Override
    protected ConversionProtocol protocol() {
      return ConversionProtocol.atomicPair();
    }
  }
}
