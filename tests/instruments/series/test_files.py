"""All series files that the agent brings: their form, their sources, and which one each literal identity belongs to."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from agent.instruments import catalogue
from agent.instruments.catalogue import AmbiguousModelError, Model, all_models, all_series, candidates, models_of
from agent.instruments.driver import Identity, IdentityError
from agent.instruments.text.identified import told_by

FOLDER = Path(str(files(catalogue))) / "series"
FILES = sorted(FOLDER.glob("*/*.yaml"))

#: Answers to ``*IDN?`` as they were seen in public (serial numbers changed), and the models that they belong to.
IDENTITIES = {
    "Magna-Power Electronics Inc., SL60-25, S/N:1164-0000, F/W:8.7": "SL60-25",
    "Magna-Power Electronics, Inc., SQA375-54, S/N:106-0000": "SQA375-54",
    "Keysight Technologies,EDU36311A,CN61131234,K-01.08.03-01.00-01.08-02.00": "EDU36311A",
    "HEWLETT-PACKARD,E3631A,0,3.2-6.0-2.0": "E3631A",
    "HEWLETT-PACKARD,E3633A,0,1.7-5.0-1.0": "E3633A",
    "HEWLETT-PACKARD,E3634A,0,2.4-6.1-2.1": "E3634A",
    "Agilent Technologies,E3640A,0,1.8-5.0-1.0": "E3640A",
    "Agilent Technologies,E3649A,0,1.4-5.0-1.0": "E3649A",
    "Keysight Technologies,E36103B,MY61001234,1.0.2-1.02": "E36103B",
    "Keysight Technologies,E36233A,MY59001234,1.0.0-1.0.2-1.00": "E36233A",
    "Keysight Technologies,E36313A,MY61004803,1.0.4-1.0.0-1.00": "E36313A",
    "HEWLETT-PACKARD,6611C,MY52001234,A.01.05": "6611C",
    "HEWLETT-PACKARD,66332A,0,A.01.03": "66332A",
    "Agilent Technologies,N5745A,US25D1234E,A.01.08,REV:B": "N5745A",
    "Keysight Technologies,N6705C,MY57001234,E.02.09.3271": "N6705C",
    "RIGOL TECHNOLOGIES,DP832,DP8C100000001,00.01.14": "DP832",
    "RIGOL TECHNOLOGIES,DP811A,DP8D100000003,00.01.16": "DP811A",
    "RIGOL TECHNOLOGIES,DP832A,DP8B100000004,00.01.19": "DP832A",
    "RIGOL TECHNOLOGIES,DP711,DP7A242200001,00.01.05": "DP711",
    "Siglent Technologies,SPD1168X,SPD13DCC000001,2.1.1.8,V1.0": "SPD1168X",
    "Siglent Technologies,SPD1305X,SPD13DC000003,1.0.1.16R4": "SPD1305X",
    "Siglent Technologies,SPD3303X,SPD00001130025,1.01.01.01.02,V3.0": "SPD3303X",
    "Siglent Technologies,SPD3303X-E,SPD3XJG000001,1.01.01.03.12R1 V6.2": "SPD3303X-E",
    "Siglent Technologies,SPD3303C,SPD3ED0000001,1.02.01.01.03R2": "SPD3303C",
    "Siglent Technologies,SPD4323X,SPD43XXXXXXXXX,4.1.2.9R1": "SPD4323X",
    "GW INSTEK,GPD-2303S,SN:EL000001,V2.04": "GPD-2303S",
    "GW INSTEK,GPD-3303D,SN:1,V1.09": "GPD-3303D",
    "GW INSTEK,GPP-4323,SN:GEW800001,V1.17": "GPP-4323",
    "GW Instek,GPP-4323,SN:GEW800002,V1.19": "GPP-4323",
    "GW INSTEK,GPP-74323,SN:GEW800003,V1.22": "GPP-4323",
    "GW-INSTEK,PSW30-72,GEW800010,02.53.20220419": "PSW30-72",
    "GW-INSTEK,PSW-3036,TW123456,01.00.20110101": "PSW30-36",
    "HAMEG,HMP4040,103123,HW50020001/SW2.51": "HMP4040",
    "ROHDE&SCHWARZ,HMP4040,120123,HW50020003/SW2.70": "HMP4040",
    "HAMEG,HMP4030,022912345,HW50020001/SW2.50": "HMP4030",
    "Rohde&Schwarz,HMC8043,053112345,HW42000000,SW01.400": "HMC8043",
    "Rohde&Schwarz,NGE103B,5601.3800k03/101234,1.52": "NGE103B",
    "Rohde&Schwarz,NGL202,3638.3376k03/101234,04.000 002CBB20D8F": "NGL202",
    "Rohde&Schwarz,NGP824,5601.4007k03/101234,1.00.000": "NGP824",
    "Keithley instruments, 2230G-30-1, 9203123, 1.16-1.04": "2230G-30-1",
    "Keithley Instruments, 2230G-30-6, 802901123456789012, 1.01-1.07": "2230G-30-6",
    "Keithley instruments, 2231A-30-3, 0123456789ABCDEFGH, 1.01-1.04": "2231A-30-3",
    "THURLBY THANDAR, CPX400DP, 581123, 3.00-4.12": "CPX400DP",
    "THURLBY THANDAR, MX100TP, 436123, 1.03-1.00-1.02": "MX100TP",
    "THURLBY THANDAR, PL601-P, 514123, 3.05-4.06": "PL601-P",
    "THURLBY THANDAR, PL303QMD-P,  426123, 3.02 - 3.13": "PL303QMD-P",
    "THURLBY THANDAR, QL355TP, 429123, 2.05-2.00": "QL355TP",
    "KORADKA3005PV2.0": "KA3005P",
    "KORAD KD3005P V2.0": "KD3005P",
    "KORADKA6003PV2.0": "KA6003P",
    "TENMA72-2540V2.0": "72-2540",
    "TENMA 72-2535 V2.1": "72-2535",
    "VELLEMANLABPS3005DV2.0": "LABPS3005D",
    "OWON,SPE3102,26180001,FV:V5.2.0": "SPE3102",
    "OWON,P4603,2037001,FV:V1.6.0": "P4603",
    "KIPRIM,DC605S,23090001,FV:V4.1.0": "DC605S",
    "KIPRIM,DC310S,25010001,FV:V5.2.0": "DC310S",
    "ITECH Ltd., IT6302, 800071020000000001, 1.05-1.04": "IT6302",
    "B&K Precision, 9130B, 802360010000000001, 1.10-1.04": "9130B",
    "ITECH Ltd., IT6722, 802260080000000001,  1.17-1.04": "IT6722",
    "CHROMA,62012P-80-60,03.30.1,00001": "62012P-80-60",
    "KIKUSUI,PMX18-5A,DR000001,IFC01.56.0015 IOC01.10.0070": "PMX18-5A",
    "TDK-LAMBDA,G10-100,10A0001,G:02.122": "G10-100",
    "DELTA ELEKTRONIKA BV,SM500-CP-90,000010200000,H0_P0150,0": "SM500-CP-90",
    "Envox,EEZ BB3 (STM32F7),00001,v0.1": "EEZ BB3",
    "Envox,EEZ H24005 (Due),CS17001,v1.1": "H24005",
    # Makers in other words: tests of instro, personalities of the simulator of lxi-web, GitHub files 54551981489 and 67230789987.
    "rigol technologies,dp832,DP8C000000001,00.01.14": "DP832",
    "SIGLENT TECHNOLOGIES,SPD3303X,12345,1.0": "SPD3303X",
    "Siglent Technologies,SPD3303C,SPD3EEDC000001,1.02.01.01.03R9,V1.3": "SPD3303C",
    "KEYSIGHT,E36312A,MY12345678,2.10": "E36312A",
    "KEYSIGHT TECHNOLOGIES,N6700B,MY1,B.1": "N6700B",
    "HP,E3631A,0,2.1-5.0-1.0": "E3631A",
    "GW INSTEK,PSW30-36,GEW800011,V1.00": "PSW30-36",
    "GW-INSTEK,PSW 80-27,PSW1234,1.70": "PSW80-27",
    "Chroma ATE,62012P-80-60,03.20,62012EF00123": "62012P-80-60",
    "BK PRECISION,9130B,800000001,1.0": "9130B",
    # The forms of a KA3005P and of its rebrands: pymeasure; tenma-serial; GitHub files 16070908510, 1004857038, 4887409473.
    "KORAD KA3005P V5.8 SN:03379001": "KA3005P",
    "RND 320-KA3005P V2.0": "320-KA3005P",
    "TENMA 72-2540 V5.2 SN:10830001": "72-2540",
    "TENMA 72-2550 V5.8 SN:03424001": "72-2550",
    "KIKUSUI,PMX18-5,AB123456,IFC01.00.0016 IOC01.00.0015": "PMX18-5A",
    "KEITHLEY INSTRUMENTS INC.,MODEL 2281S-20-6,01234567,01.00": "2281S-20-6",
    "TDK-LAMBDA,Z36-6-LAN,123A456,1.0": "Z36-6-LAN",
    "Envox,EEZ H24005 (Simulator),0000000,v1.1": "H24005",
    "HAMEG,HMP4040,026043001,HW50020001/SW2.50": "HMP4040",
    "Keithley,2260B-30-36,1234,1.77": "2260B-30-36",
}
#: Answers of units that no file is for: an electronic load, sister models with other words, and series that are not shipped.
STRANGERS = [
    "EA Elektro-Automatik GmbH&Co.KG, EL 9080-340, 1240210000, V2.14 14.05.2018 V2.24 04.06.2018 V1.6.5",
    "DELTA ELEKTRONIKA BV,PSC ETH P177 V3.7.0,10100000,0",
    "HEWLETT-PACKARD,66311B,US38441234.A,02.02",
    "KORAD KD3305P V4.2 SN:30000001",
    "Thurlby Thandar,EL302P,0,v1.14",
    "THURLBY THANDAR,TSX1820P,389123,1.00 - 1.00",
    "KIKUSUI,PMX32-3DU,XX000001,VER01.00 BLD0001",
    "KIKUSUI,PWR801L,XX000001,VER01.25 BLD0057",
    "Keysight Technologies,E36441A,MY64001234,01.00-01.01-01.01-2024100301",
    "OWON,ODP3012,24320001,FV:V3.9.0",
    "Uni-Trend,UDP6933B,0000000000000,1.00.0905",
    "B&K Precision, 9206B, 800887010000000001,  1.13-1.08",
    "BK PRECISION,9123A,006002156274000001,V1.67",
    "Rigol Technologies,DP2031,DP2A243500001,01.00.01.00.16",
    "GOSSEN-METRAWATT,SSP62N052RU050P,XXXXXXXXX,03.001",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_has_no_fault_and_cites_its_sources(path: Path) -> None:
    series = catalogue.read(path)
    assert all(len(source) > 5 for source in series.sources)
    assert "tried:" in path.read_text(encoding="utf-8")
    for report in series.tried:
        assert report.model in [model.name for model in models_of(series)]
    for model in models_of(series):
        assert all(output.settings for output in model.outputs)


def test_no_two_files_have_the_same_series() -> None:
    names = [series.name for series in all_series()]
    assert len(names) == len(set(names)) == len(FILES)


def test_no_series_of_several_models_has_the_name_of_one() -> None:
    # The name of a series means all its models.
    for series in all_series():
        models = [model.name.casefold() for model in models_of(series)]
        assert models == [series.name.casefold()] or series.name.casefold() not in models


@pytest.mark.parametrize("name", sorted({model.name for model in all_models()}))
def test_a_name_means_one_series_or_is_told_as_ambiguous(name: str) -> None:
    having = sorted(series.name for series in all_series() if name in [model.name for model in models_of(series)])
    if len(having) == 1:
        assert {model.series.name for model in candidates(name)} == set(having)
        return
    with pytest.raises(AmbiguousModelError) as told:
        candidates(name)
    for series in having:
        assert f"{series},{name}" in str(told.value)
        assert {model.series.name for model in candidates(f"{series},{name}")} == {series}


def told_as(answer: str) -> list[Model]:
    """The models of all series whose identity fits to an answer to ``*IDN?``."""
    found: list[Model] = []
    for series in all_series():
        if series.identify.ask != "*IDN?":
            continue
        try:
            fields = told_by(series, answer)
        except IdentityError:
            continue
        identity = Identity(
            fields.get("manufacturer") or series.manufacturer,
            fields.get("model", ""),
            fields.get("serial", ""),
            fields.get("firmware", ""),
        )
        model = catalogue.identify(identity, models_of(series))
        if model is not None:
            found.append(model)
    return found


@pytest.mark.parametrize(("answer", "name"), IDENTITIES.items())
def test_an_identity_belongs_to_one_series(answer: str, name: str) -> None:
    assert [model.name for model in told_as(answer)] == [name]


@pytest.mark.parametrize("answer", STRANGERS)
def test_a_unit_that_no_file_is_for_is_taken_for_no_other(answer: str) -> None:
    assert [model.name for model in told_as(answer)] == []
