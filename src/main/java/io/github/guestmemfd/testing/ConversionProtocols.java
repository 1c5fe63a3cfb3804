package io.github.guestmemfd.testing;

import io.github.guestmemfd.conversion.ConversionProtocol;
import java.lang.annotation.Documented;
import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;
import org.junit.jupiter.api.TestTemplate;

/**
 * A test method that runs once under each conversion protocol, instead of {@code @Test}. Its class
 * needs the {@link GuestMemfdExtension}; the files that the extension injects have the protocol,
 * and so does a parameter of type {@link ConversionProtocol}.
 */
@Documented
@Target({ElementType.METHOD, ElementType.ANNOTATION_TYPE})
@Retention(RetentionPolicy.RUNTIME)
@TestTemplate
public @interface ConversionProtocols {

  /**
   * The protocols, by {@link ConversionProtocol#id}.
   *
   * @return the ids; none means {@linkplain ConversionProtocol#all all}
   */
  String[] value() default {};

  /**
   * Whether protocols that are known to be unsound take part, if none are named.
   *
   * @return false by default
   */
  boolean unsound() default false;
}
