// HiveMQ Community Edition as a program: java HiveMq.java FOLDER PASSWORD-OR-NOTHING
// The folder has conf/config.xml, and data/ and extensions/ to write to. With a password there are two users.

import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.parameter.TopicPermission;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import com.hivemq.extension.sdk.api.services.builder.Builders;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

public class HiveMq {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        var builder = EmbeddedHiveMQ.builder()
                .withConfigurationFolder(folder.resolve("conf"))
                .withDataFolder(folder.resolve("data"))
                .withExtensionsFolder(folder.resolve("extensions"));
        if (!arguments[1].isEmpty()) {
            builder = builder.withEmbeddedExtension(EmbeddedExtension.builder()
                    .withId("users").withName("users").withVersion("1").withPriority(0).withStartPriority(1000)
                    .withExtensionMain(new Users(arguments[1])).build());
        }
        EmbeddedHiveMQ broker = builder.build();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
        broker.start().join();
        Thread.currentThread().join();
    }

    static class Users implements ExtensionMain {
        private final String password;

        Users(String password) {
            this.password = password;
        }

        private SimpleAuthenticator authenticator() {
            return (input, output) -> {
                String user = input.getConnectPacket().getUserName().orElse("");
                String given = input.getConnectPacket().getPassword()
                        .map(bytes -> StandardCharsets.UTF_8.decode(bytes).toString()).orElse("");
                if (!given.equals(password) || !(user.equals("agent") || user.equals("reader"))) {
                    output.failAuthentication();
                    return;
                }
                var permissions = output.getDefaultPermissions();
                if (user.equals("agent")) {
                    permissions.add(Builders.topicPermission().topicFilter("#").build());
                } else {
                    permissions.add(Builders.topicPermission().topicFilter("#")
                            .activity(TopicPermission.MqttActivity.SUBSCRIBE).build());
                    permissions.add(Builders.topicPermission().topicFilter("clients/#").build());
                }
                output.authenticateSuccessfully();
            };
        }

        @Override
        public void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
            Services.securityRegistry().setAuthenticatorProvider(given -> authenticator());
        }

        @Override
        public void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}
    }
}
