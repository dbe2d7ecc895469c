"""Brokers in Java: HiveMQ Community Edition, Moquette, ActiveMQ Artemis."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.brokers.getting import CACHE, NotHadError, found, maven_archive, maven_classpath
from tests.brokers.program import AGENT, PASSWORD, READER, BrokerProgram

_FILES = Path(__file__).parent / "files"
_MEMORY = "-Xmx512m"


def _java() -> str:
    return found("java", "Debian, Ubuntu: apt install openjdk-17-jre-headless")


class HiveMq(BrokerProgram):
    """HiveMQ Community Edition, embedded in a program of some lines, with its store in files."""

    name = "hivemq"
    title = "HiveMQ Community Edition"
    source = "Maven `com.hivemq:hivemq-community-edition-embedded`"
    access_control = (
        "extensions (HiveMQ's own for files, or one's own as here): topics by user, publish and subscribe apart"
    )
    _VERSION: ClassVar[str] = "2025.5"

    def command(self) -> Sequence[str | Path]:
        artifact = f"com.hivemq:hivemq-community-edition-embedded:{self._VERSION}"
        classpath = maven_classpath(artifact, build=self.build)
        classes = _compiled("HiveMq", classpath)
        for folder in ("data", "extensions"):
            (self.folder / folder).mkdir(exist_ok=True)
        self.write(
            "conf/config.xml",
            '<?xml version="1.0"?><hivemq><listeners><tcp-listener>'
            f"<port>{self.port}</port><bind-address>{self.host}</bind-address></tcp-listener></listeners>"
            "<anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics></hivemq>",
        )
        password = PASSWORD if self.access else ""
        # Its stores look into classes of the JDK.
        opened = [
            f"--add-opens=java.base/{package}=ALL-UNNAMED"
            for package in ("java.lang", "java.nio", "sun.nio.ch", "jdk.internal.misc")
        ]
        return [_java(), _MEMORY, *opened, "-cp", f"{classes}:{classpath}", "HiveMq", self.folder, password]


class Moquette(BrokerProgram):
    """Moquette's own program, with its store in a file."""

    name = "moquette"
    title = "Moquette"
    source = "Maven `io.moquette:moquette-broker`"
    access_control = (
        "`acl_file`: topics by user, read and write apart (0.17 takes a `#` at a line's end for a comment; `# #` helps)"
    )
    _VERSION: ClassVar[str] = "0.17"

    def command(self) -> Sequence[str | Path]:
        classpath = maven_classpath(f"io.moquette:moquette-broker:{self._VERSION}", build=self.build)
        (self.folder / "data").mkdir(exist_ok=True)
        lines = [
            f"host {self.host}",
            f"port {self.port}",
            f"data_path {self.folder / 'data'}/",
            "persistence_enabled true",
            "telemetry_enabled false",
            f"allow_anonymous {'false' if self.access else 'true'}",
        ]
        if self.access:
            digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
            self.write("config/passwords", "".join(f"{user}:{digest}\n" for user in (AGENT, READER)))
            self.write(
                "config/acl",
                # The comment is needed: without one 0.17 takes the filter's own # for the beginning of a comment.
                f"user {AGENT}\ntopic readwrite # # all\n\n"
                f"user {READER}\ntopic read # # all\ntopic readwrite clients/# # its own\n",
            )
            lines += ["password_file config/passwords", "acl_file config/acl"]
        self.write("config/moquette.conf", "\n".join(lines) + "\n")
        log = self.write(
            "log4j.properties",
            "log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.out.layout.ConversionPattern=%d %p %c{1} %m%n\n",
        )
        options = [_MEMORY, f"-Dmoquette.path={self.folder}", f"-Dlog4j.configuration=file:{log}"]
        return [_java(), *options, "-cp", classpath, "io.moquette.broker.Server"]


class Artemis(BrokerProgram):
    """Apache ActiveMQ Artemis with its acceptor for MQTT."""

    name = "artemis"
    title = "Apache ActiveMQ Artemis"
    source = "Maven `org.apache.activemq:apache-artemis`"
    access_control = "`security-settings`: addresses by role (`psu.#` for `psu/#`), send and consume apart"
    _VERSION: ClassVar[str] = "2.40.0"

    def command(self) -> Sequence[str | Path]:
        artifact = f"org.apache.activemq:apache-artemis:{self._VERSION}:tar.gz:bin"
        home = maven_archive(artifact, build=self.build)
        instance = self.folder / "instance"
        if not instance.exists():
            options = ["--silent", "--no-autotune", "--no-web", "--nio", "--host", self.host]
            options += ["--user", AGENT, "--password", PASSWORD, "--role", AGENT]
            options += ["--require-login" if self.access else "--allow-anonymous"]
            make = [str(home / "bin" / "artemis"), "create", *options, str(instance)]
            subprocess.run(make, check=True, capture_output=True, env={**os.environ, "JAVA_HOME": str(_home_of_java())})
        etc = instance / "etc"
        (etc / "broker.xml").write_text(self._configuration())
        if self.access:
            (etc / "artemis-users.properties").write_text(f"{AGENT} = {PASSWORD}\n{READER} = {PASSWORD}\n")
            (etc / "artemis-roles.properties").write_text(f"{AGENT} = {AGENT}\n{READER} = {READER}\n")
        return [instance / "bin" / "artemis", "run"]

    def environment(self) -> Mapping[str, str]:
        return {"JAVA_HOME": str(_home_of_java()), "JAVA_ARGS": _MEMORY}

    def _configuration(self) -> str:
        both = f"{AGENT},{READER}"
        ours = [f'<security-setting match="#">{_permissions(send=AGENT, others=both)}</security-setting>']
        ours.append(f'<security-setting match="clients.#">{_permissions(send=both, others=both)}</security-setting>')
        return (
            '<?xml version="1.0"?><configuration xmlns="urn:activemq"><core xmlns="urn:activemq:core">'
            f"<name>artemis</name><persistence-enabled>true</persistence-enabled><journal-type>NIO</journal-type>"
            f"<security-enabled>{'true' if self.access else 'false'}</security-enabled>"
            '<acceptors><acceptor name="mqtt">'
            f"tcp://{self.host}:{self.port}?protocols=MQTT</acceptor></acceptors>"
            f"<security-settings>{''.join(ours) if self.access else ''}</security-settings>"
            '<address-settings><address-setting match="#"><auto-create-queues>true</auto-create-queues>'
            "<auto-create-addresses>true</auto-create-addresses></address-setting></address-settings>"
            "</core></configuration>"
        )


def _permissions(*, send: str, others: str) -> str:
    kinds = ["createNonDurableQueue", "deleteNonDurableQueue", "createDurableQueue", "deleteDurableQueue"]
    kinds += ["createAddress", "deleteAddress", "consume", "browse"]
    given = [f'<permission type="{kind}" roles="{others}"/>' for kind in kinds]
    return "".join([*given, f'<permission type="send" roles="{send}"/>'])


def _home_of_java() -> Path:
    return Path(_java()).resolve().parent.parent


def _compiled(name: str, classpath: str) -> Path:
    """The folder with the classes of a program in ``files/``, compiled once."""
    source = _FILES / f"{name}.java"
    folder = CACHE / "classes" / hashlib.sha256(source.read_bytes() + classpath.encode()).hexdigest()[:12]
    if not (folder / f"{name}.class").exists():
        compiler = found("javac", "Debian, Ubuntu: apt install openjdk-17-jdk-headless")
        make = [compiler, "-cp", classpath, "-d", str(folder), str(source)]
        done = subprocess.run(make, capture_output=True, text=True)
        if done.returncode:
            raise NotHadError(f"{name}.java does not compile: {done.stderr.strip()[-300:]}")
    return folder
