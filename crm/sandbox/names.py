"""Given and family names by naming culture, in the script their bearers write them in.

A name is `native` or `native=Latin`; the Latin form goes into e-mail addresses. A family name that
agrees with gender is `male/female`. An underscore stands for a space inside one name.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

# Letters that Unicode does not decompose into a base letter and a mark.
UNDECOMPOSED = str.maketrans(
    {
        "ł": "l",
        "Ł": "L",
        "ø": "o",
        "Ø": "O",
        "đ": "d",
        "Đ": "D",
        "ß": "ss",
        "æ": "ae",
        "Æ": "Ae",
        "ı": "i",
        "’": "",
        "'": "",
    }
)


class Name(NamedTuple):
    """One name as written and in ASCII letters."""

    native: str
    latin: str


class Pool(NamedTuple):
    """The names of one culture; families[i] is the pair (for men, for women)."""

    men: list[Name]
    women: list[Name]
    families: list[tuple[Name, Name]]


def ascii_form(text: str) -> str:
    """The text in ASCII letters where Latin letters stand behind it; other characters vanish."""
    decomposed = unicodedata.normalize("NFKD", text.translate(UNDECOMPOSED))
    return decomposed.encode("ascii", "ignore").decode()


def _name(token: str) -> Name:
    native, _, latin = token.partition("=")
    return Name(native.replace("_", " "), latin or ascii_form(native))


def _family(token: str) -> tuple[Name, Name]:
    native, _, latin = token.partition("=")
    male, _, female = native.partition("/")
    male_latin, _, female_latin = latin.partition("/")
    him = _name(f"{male}={male_latin}" if latin else male)
    if not female:
        return him, him
    return him, _name(f"{female}={female_latin}" if latin else female)


def _pool(men: str, women: str, families: str) -> Pool:
    return Pool(
        [_name(token) for token in men.split()],
        [_name(token) for token in women.split()],
        [_family(token) for token in families.split()],
    )


POOLS: dict[str, Pool] = {
    "polish": _pool(
        "Piotr Krzysztof Andrzej Tomasz Paweł Michał Łukasz Jakub Stanisław Wojciech Bartłomiej Mikołaj "
        "Jerzy Rafał",
        "Anna Katarzyna Małgorzata Agnieszka Zofia Elżbieta Joanna Magdalena Łucja Hanna Wiktoria "
        "Świetlana Żaneta",
        "Nowak Kowalski/Kowalska Wiśniewski/Wiśniewska Wójcik Kowalczyk Kamiński/Kamińska "
        "Lewandowski/Lewandowska Zieliński/Zielińska Szymański/Szymańska Woźniak Dąbrowski/Dąbrowska "
        "Kozłowski/Kozłowska Mazur Jabłoński/Jabłońska Król Wróbel Pawłowski/Pawłowska Gołąb Żak "
        "Ślusarczyk",
    ),
    "german": _pool(
        "Lukas Jürgen Matthias Felix Jonas Stefan Björn Sebastian Leon Götz Andreas Maximilian Klaus Jörg",
        "Anna Sabine Käthe Julia Hannah Birgit Sophie Jördis Katharina Lena Ursula Franziska Heike Mia",
        "Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schäfer Hoffmann Groß Köhler Krüger "
        "Weiß Lange Böhm Vogt Jäger Pohl Brandt",
    ),
    "english": _pool(
        "James Oliver William Harry Noah Liam Ethan Daniel Michael Samuel Thomas Jack Henry Marcus Owen "
        "Dylan",
        "Olivia Emma Charlotte Amelia Grace Sophie Chloe Hannah Abigail Megan Lily Isla Zoe Nora Ruby Alice",
        "Smith Johnson Williams Brown Jones Taylor Davies Wilson Evans Thomas Walker Wright Robinson "
        "Thompson Hughes O'Connor Murphy Campbell MacDonald Bennett Cooper Morgan",
    ),
    "arabic": _pool(
        "محمد=Mohammed أحمد=Ahmed علي=Ali عمر=Omar يوسف=Youssef خالد=Khalid عبد_الله=Abdullah "
        "حسن=Hassan إبراهيم=Ibrahim سلطان=Sultan فيصل=Faisal راشد=Rashid ماجد=Majid كريم=Karim",
        "فاطمة=Fatima عائشة=Aisha مريم=Maryam نورة=Noura سارة=Sara هند=Hind ليلى=Layla زينب=Zainab "
        "ريم=Reem أمل=Amal ياسمين=Yasmin دانة=Dana منى=Mona شيخة=Sheikha",
        "المنصوري=Almansoori العتيبي=Alotaibi القحطاني=Alqahtani الحربي=Alharbi المصري=Elmasry "
        "حسين=Hussein إبراهيم=Ibrahim الشامسي=Alshamsi النعيمي=Alnuaimi السيد=Elsayed "
        "عبد_الرحمن=Abdelrahman الغامدي=Alghamdi الزهراني=Alzahrani منصور=Mansour الفاسي=Elfassi "
        "بن_علي=Benali",
    ),
    "portuguese": _pool(
        "João Pedro Lucas Gabriel Rafael Antônio Luís Tiago Gustavo Vinícius Mateus César Caio Otávio",
        "Maria Ana Beatriz Júlia Letícia Camila Larissa Inês Conceição Fernanda Mariana Lívia Débora "
        "Patrícia",
        "Silva Santos Oliveira Souza Rodrigues Ferreira Alves Pereira Gonçalves Araújo Carvalho Ribeiro "
        "Conceição Simões Magalhães Guimarães Moraes Falcão",
    ),
    "spanish": _pool(
        "José Juan Luis Carlos Jesús Javier Martín Diego Andrés Alejandro Ramón Íñigo Óscar Sebastián "
        "Joaquín",
        "María Carmen Lucía Sofía Valentina Begoña Inés Guadalupe Ángela Camila Rocío Mónica Ximena Belén",
        "García Rodríguez Martínez Hernández López González Pérez Sánchez Ramírez Núñez Muñoz Gutiérrez "
        "Ibáñez Peña Vázquez Castro Jiménez Ordóñez Quiñones",
    ),
    "french": _pool(
        "Jean François Théo Gérard Étienne Loïc Benoît Jérôme Nicolas Clément Raphaël Cédric Hugo Mathis",
        "Chloé Camille Élodie Aurélie Zoé Françoise Céline Manon Inès Margaux Noémie Hélène Agathe Léa",
        "Martin Bernard Dubois Lefèvre Moreau Laurent Girard Mercier Lambert Bonnet Béranger Chevalier "
        "Gauthier Perrin Desprès Noël Fournier Lemaître",
    ),
    "italian": _pool(
        "Marco Giuseppe Alessandro Lorenzo Matteo Niccolò Luca Davide Francesco Gabriele Antonio Edoardo",
        "Giulia Chiara Francesca Sofia Aurora Martina Alessia Ginevra Elena Valentina Beatrice Noemi",
        "Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti "
        "De_Luca D’Angelo Lo_Presti",
    ),
    "turkish": _pool(
        "Mehmet Mustafa Emre Ahmet Çağlar Oğuz Kerem Yiğit Burak Hüseyin Şükrü Ömer İbrahim Tuğrul",
        "Ayşe Fatma Zeynep Elif Şule Gülşen Özge İrem Büşra Çiğdem Defne Tuğba Nilüfer Ece",
        "Yılmaz Kaya Demir Şahin Çelik Yıldız Yıldırım Öztürk Aydın Özdemir Arslan Doğan Kılıç Aslan "
        "Çetin Güneş",
    ),
    "dutch": _pool(
        "Daan Sem Thijs Joris Bram Ruben Sander Jeroen Willem Maarten Koen Stijn",
        "Sanne Emma Femke Lotte Anouk Fleur Marloes Zoë Noor Roos Esmée Lieke",
        "de_Jong Jansen de_Vries van_den_Berg van_Dijk Bakker Visser Smit Meijer Mulder Bos Vos Peeters "
        "Janssens Hendriks",
    ),
    "nordic": _pool(
        "Erik Lars Björn Jørgen Mikkel Søren Åke Anders Håkon Oskar Magnus Henrik Gösta Sverre",
        "Astrid Ingrid Åsa Märta Freja Sigrid Karin Bodil Solveig Maja Linnéa Kirsten Ella Signe",
        "Andersson Johansson Karlsson Nilsson Lindström Sjöberg Hansen Sørensen Jørgensen Nielsen "
        "Ødegård Berg Åkesson Bjørnstad Kjær Holm",
    ),
    "finnish": _pool(
        "Mikko Juha Väinö Antti Eero Jari Onni Ville Pekka Yrjö",
        "Aino Kaisa Päivi Emilia Hilkka Sanna Helmi Tyyne Venla",
        "Korhonen Virtanen Mäkinen Nieminen Mäkelä Hämäläinen Laine Heikkinen Järvinen Lehtonen",
    ),
    "czech": _pool(
        "Jiří Jan Petr Tomáš Ondřej Lukáš Zdeněk Vojtěch Matěj Štěpán",
        "Tereza Lucie Kateřina Eliška Věra Zuzana Barbora Markéta Žofie Jitka",
        "Novák/Nováková Svoboda/Svobodová Dvořák/Dvořáková Černý/Černá Procházka/Procházková "
        "Kučera/Kučerová Veselý/Veselá Horák/Horáková Němec/Němcová Růžička/Růžičková",
    ),
    "ukrainian": _pool(
        "Олександр=Oleksandr Андрій=Andrii Тарас=Taras Богдан=Bohdan Ігор=Ihor Дмитро=Dmytro Юрій=Yurii "
        "Назар=Nazar Максим=Maksym Євген=Yevhen",
        "Оксана=Oksana Наталія=Nataliia Ірина=Iryna Марія=Mariia Соломія=Solomiia Олена=Olena "
        "Юлія=Yuliia Катерина=Kateryna Леся=Lesia Ганна=Hanna",
        "Шевченко=Shevchenko Бондаренко=Bondarenko Коваленко=Kovalenko Ткачук=Tkachuk Кравчук=Kravchuk "
        "Мельник=Melnyk Лисенко=Lysenko Савченко=Savchenko Гончарук=Honcharuk "
        "Левицький/Левицька=Levytskyi/Levytska",
    ),
    "romanian": _pool(
        "Andrei Mihai Ștefan Alexandru Ionuț Cătălin Răzvan Gheorghe Vlad Doru",
        "Ioana Elena Mălina Andreea Ștefania Raluca Bianca Simona Ilinca Daniela",
        "Popescu Ionescu Popa Dumitru Stan Gheorghe Rusu Munteanu Matei Constantinescu Țurcanu Brătianu",
    ),
    "greek": _pool(
        "Γιώργος=Giorgos Δημήτρης=Dimitris Νίκος=Nikos Κώστας=Kostas Γιάννης=Giannis Ανδρέας=Andreas "
        "Παύλος=Pavlos Σπύρος=Spyros Θοδωρής=Thodoris Μιχάλης=Michalis",
        "Μαρία=Maria Ελένη=Eleni Κατερίνα=Katerina Σοφία=Sofia Ιωάννα=Ioanna Δέσποινα=Despina Άννα=Anna "
        "Χριστίνα=Christina Ζωή=Zoi Ειρήνη=Eirini",
        "Παπαδόπουλος/Παπαδοπούλου=Papadopoulos/Papadopoulou Γεωργίου=Georgiou Δημητρίου=Dimitriou "
        "Νικολάου=Nikolaou Αντωνίου=Antoniou Βασιλείου=Vasileiou Οικονόμου=Oikonomou "
        "Κωνσταντίνου=Konstantinou",
    ),
    "hebrew": _pool(
        "דוד=David יוסף=Yosef נועם=Noam איתי=Itay אורי=Uri משה=Moshe עומר=Omer יונתן=Yonatan",
        "נועה=Noa תמר=Tamar מאיה=Maya שירה=Shira יעל=Yael רחל=Rachel אביגיל=Avigail הדס=Hadas",
        "כהן=Cohen לוי=Levi מזרחי=Mizrahi פרץ=Peretz ביטון=Biton אברהם=Avraham פרידמן=Friedman שפירא=Shapira",
    ),
    "indian": _pool(
        "आरव=Aarav राहुल=Rahul विवेक=Vivek अर्जुन=Arjun संजय=Sanjay Rohan Karthik Aditya Imran Suresh "
        "Vikram Harpreet",
        "प्रिया=Priya अनन्या=Ananya कविता=Kavita नेहा=Neha दिव्या=Divya Lakshmi Aishwarya Meera Sunita "
        "Fatima Pooja Gurleen",
        "शर्मा=Sharma गुप्ता=Gupta सिंह=Singh पटेल=Patel वर्मा=Verma Reddy Nair Iyer Khan Mukherjee "
        "Desai Rao Joshi Fernandes",
    ),
    "pakistani": _pool(
        "علی=Ali حمزہ=Hamza بلال=Bilal عثمان=Usman فہد=Fahad احمد=Ahmad زین=Zain شاہد=Shahid",
        "عائشہ=Ayesha فاطمہ=Fatima حرا=Hira صائمہ=Saima ماہ_نور=Mahnoor زارا=Zara نادیہ=Nadia ثنا=Sana",
        "خان=Khan احمد=Ahmed ملک=Malik حسین=Hussain قریشی=Qureshi بٹ=Butt چودھری=Chaudhry شیخ=Sheikh",
    ),
    "japanese": _pool(
        "翔太=Shota 大輔=Daisuke 健太=Kenta 拓海=Takumi 蓮=Ren 悠斗=Yuto 誠=Makoto 直樹=Naoki "
        "浩=Hiroshi 颯太=Sota 陸=Riku",
        "美咲=Misaki さくら=Sakura 陽菜=Hina 結衣=Yui 愛=Ai 由美子=Yumiko 葵=Aoi 恵子=Keiko "
        "真由美=Mayumi ひかり=Hikari",
        "佐藤=Sato 鈴木=Suzuki 高橋=Takahashi 田中=Tanaka 伊藤=Ito 渡辺=Watanabe 山本=Yamamoto "
        "中村=Nakamura 小林=Kobayashi 加藤=Kato 吉田=Yoshida 山田=Yamada 髙木=Takagi 斎藤=Saito 森=Mori",
    ),
    "korean": _pool(
        "민준=Minjun 서준=Seojun 도윤=Doyun 지훈=Jihun 현우=Hyeonu 준호=Junho 성민=Seongmin 태현=Taehyeon",
        "서연=Seoyeon 지우=Jiu 수빈=Subin 하은=Haeun 민서=Minseo 유진=Yujin 은지=Eunji 혜진=Hyejin",
        "김=Kim 이=Lee 박=Park 최=Choi 정=Jung 강=Kang 조=Cho 윤=Yoon 장=Jang 임=Lim 한=Han 남궁=Namgung",
    ),
    "chinese": _pool(
        "志明=Chih-ming 家豪=Chia-hao 俊傑=Chun-chieh 建宏=Chien-hung 冠宇=Kuan-yu 柏翰=Po-han "
        "宗翰=Tsung-han 承恩=Cheng-en",
        "淑芬=Shu-fen 雅婷=Ya-ting 怡君=Yi-chun 佳穎=Chia-ying 欣怡=Hsin-yi 詩涵=Shih-han 美玲=Mei-ling "
        "宜蓁=Yi-chen",
        "陳=Chen 林=Lin 黃=Huang 張=Chang 李=Li 王=Wang 吳=Wu 劉=Liu 蔡=Tsai 楊=Yang 歐陽=Ouyang",
    ),
    "thai": _pool(
        "สมชาย=Somchai ณัฐพล=Nattapon ธนวัฒน์=Thanawat กิตติ=Kitti อนุชา=Anucha วิชัย=Wichai ปิยะ=Piya",
        "สุดา=Suda มาลี=Malee พิมพ์ชนก=Pimchanok กนกวรรณ=Kanokwan ศิริพร=Siriporn นภา=Napa อรทัย=Orathai",
        "ศรีสุข=Srisuk แสงทอง=Saengthong ใจดี=Jaidee วงศ์สวัสดิ์=Wongsawat บุญมี=Boonmee ทองดี=Thongdee "
        "รัตนกุล=Rattanakul",
    ),
    "vietnamese": _pool(
        "Minh Đức Hùng Tuấn Quân Long Bảo Khánh Phúc Hoàng",
        "Lan Hương Linh Thảo Ngọc Trang Mai Phương Hạnh Yến",
        "Nguyễn Trần Lê Phạm Hoàng Phan Vũ Đặng Bùi Đỗ Hồ Ngô",
    ),
    "indonesian": _pool(
        "Budi Agus Rizky Dwi Bayu Andi Hendra Joko Yusuf Wahyu",
        "Siti Dewi Putri Ayu Rina Sri Indah Wulan Nur Fitri",
        "Santoso Wijaya Pratama Saputra Hidayat Kusuma Setiawan Nugroho Lestari Siregar Suharto Gunawan",
    ),
    "nigerian": _pool(
        "Chinedu Emeka Olúwaṣeun Tunde Ibrahim Musa Babajide Ifeanyi Kelechi Yusuf Adébáyọ̀",
        "Ngozi Adaeze Folake Aisha Chiamaka Yetunde Ọmọlará Halima Ifeoma Temitope Blessing",
        "Okafor Adeyemi Okonkwo Bello Eze Balogun Abubakar Nwosu Ọláyínká Danjuma Ogunleye Uche",
    ),
    "kenyan": _pool(
        "Kamau Otieno Kiprop Mwangi Barasa Juma Brian Dennis Ochieng Kipchoge",
        "Wanjiku Achieng Chebet Njeri Nafula Amina Faith Mercy Akinyi Wambui",
        "Njoroge Odhiambo Kiplagat Kariuki Wafula Mutua Onyango Maina Cheruiyot Hassan Muthoni",
    ),
    "southafrican": _pool(
        "Thabo Sipho Pieter Johan Bongani Themba Riaan Naidoo Kagiso Mandla",
        "Nomsa Lerato Anèl Zanele Thandi Marlene Precious Priya Ayanda Liezl",
        "Nkosi Dlamini van_der_Merwe Botha Mokoena Naidoo Khumalo Pretorius Mthembu Govender Jacobs Ndlovu",
    ),
}
